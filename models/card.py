"""The model card, `card.toml`: what a package promises, read and checked before any weight is loaded."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import SettingsInvalid
from schemas.findings import Digest, FindingKind, Probability


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IntendedUse(_Part):
    """Values of (0008,0060) Modality, (0018,0015) Body Part Examined and (0018,5101) View Position the model was made for."""

    statement: str
    modalities: frozenset[str]
    body_parts: frozenset[str]
    views: frozenset[str]
    #: whether an image that does not say its body part or view is refused
    body_part_required: bool
    view_required: bool
    #: completed years, both included; None: no limit
    minimum_age_years: Annotated[int, Field(ge=0)] | None = None
    maximum_age_years: Annotated[int, Field(ge=0)] | None = None
    #: whether pictures taken at the bedside may be used
    portable: bool


class Input(_Part):
    #: side of the square canvas in pixels, and the size of such a pixel for a full chest film
    canvas: Literal[448]
    millimetres_per_pixel: Annotated[float, Field(gt=0)]


class Output(_Part):
    """`models.postprocessing.OperatingPoint`, and what a region may be called."""

    kinds: frozenset[FindingKind]
    mass_above_mm: Annotated[float, Field(gt=0)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    threshold_rule: str
    outline: float
    slope: Annotated[float, Field(gt=0)]
    offset: float
    codes: dict[FindingKind, str]


class Weights(_Part):
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")]
    sha256: Digest


class SelfTest(_Part):
    """Highest and mean logit of `models.registry.self_test_image`; tolerance is absolute, for other CPUs' rounding."""

    highest: float
    mean: float
    tolerance: Annotated[float, Field(gt=0)]


class Training(_Part):
    data: list[str]
    licence: list[str]
    method: str
    #: arguments of `python -m models.training.train`, in order; each stage starts from the one before
    stages: list[str]
    films: int
    patients: int
    nodules: int


class Performance(_Part):
    """On the test split; intervals are 95 %, by bootstrap over patients."""

    pairs: int
    films: int
    patients: int
    enhancement: float
    share_higher: Probability
    share_higher_interval: tuple[Probability, Probability]
    #: the same for the heatmap's highest cell: a nodule has to outdo every false alarm of the film
    share_highest_cell_higher: Probability
    area_under_curve: Probability
    area_under_curve_interval: tuple[Probability, Probability]
    sensitivity_of_localisation: Probability
    sensitivity_10_20_mm: Probability
    sensitivity_20_40_mm: Probability
    false_boxes_per_normal_film: float
    specificity: Probability
    real_films: int
    real_area_under_curve: Probability
    real_area_under_curve_interval: tuple[Probability, Probability]
    #: by enhancement
    share_higher_at: dict[str, Probability]


class Card(_Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]+$")]
    architecture: str
    intended_use: IntendedUse
    input: Input
    output: Output
    weights: Weights
    self_test: SelfTest
    training: Training
    performance: Performance
    known_failures: list[str]


_Card = TypeVar("_Card", bound=BaseModel)


def read_card(package: Path) -> Card:
    """Raises SettingsInvalid: no card there, or one that is not as this version reads it."""
    return read_card_as(Card, package)


def read_card_as(kind: type[_Card], package: Path) -> _Card:
    """As `read_card`, for a package of another kind."""
    path = package / "card.toml"
    reference = "/".join(package.parts[-2:])
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SettingsInvalid("load", reference, "no card.toml: see RADSTREAM_MODELS__URL, USE and GATE") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsInvalid("load", reference, f"card.toml is not TOML ({error}): restore it from the release") from error
    except ValidationError as error:
        places = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise SettingsInvalid("load", reference, f"card.toml: missing or invalid {places}: correct the card") from error
