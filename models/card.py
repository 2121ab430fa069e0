"""The model card, `card.toml`: what a package promises, read and checked before any weight is loaded."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from models.card_origin import Number, Part, Performance, Program, Remote, Training, Weights
from schemas.coding import CheckedCoding, Unit
from schemas.errors import SettingsInvalid
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, FindingKind, ModelIdentity, ServiceName
from schemas.model_events import ModelName, ModelVersion
from schemas.outputs import OutputName

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
TENSOR_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
#: of a network's input or answer, as it names it
TensorName = Annotated[str, Field(pattern=TENSOR_NAME, max_length=128)]
Column = Annotated[int, Field(ge=0)]


class IntendedUse(Part):
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


class Input(Part):
    """What the network is given: (n, channels, canvas, canvas), greys (0 black to 1 white, `models.preprocessing.GreyScale`) minus
    `mean`, divided by `spread`, of each channel. A film has one grey: with three channels each gets it."""

    #: side of the square canvas in pixels, and the size of such a pixel for a full chest film
    canvas: Annotated[int, Field(ge=16, le=4096)]
    millimetres_per_pixel: Positive
    mean: tuple[Number, ...] = (0.5,)
    spread: tuple[Positive, ...] = (0.25,)

    @property
    def channels(self) -> int:
        return len(self.mean)

    @model_validator(mode="after")
    def _of_each_channel(self) -> Self:
        if len(self.mean) not in (1, 3) or len(self.spread) != len(self.mean):
            raise ValueError("mean and spread are of 1 or of 3 channels")
        return self


class Film(Part):
    """A logit about the whole film that counts beside its heatmap; the tensor is (n, columns)."""

    tensor: TensorName
    column: Column = 0
    slope: Number


class Heatmap(Part):
    """Findings with a place. The tensor is (n, 1, rows, columns) logits, a cell for each `stride` canvas pixels;
    probability = sigmoid(slope * strength + offset, + film.slope * the film's logit), see `models.postprocessing`."""

    tensor: TensorName = "heatmap"
    stride: Annotated[int, Field(ge=1)]
    kinds: Annotated[frozenset[FindingKind], Field(min_length=1)]
    mass_above_mm: Positive
    threshold: Annotated[float, Field(gt=0, lt=1)]
    threshold_rule: str
    outline: Number
    slope: Positive
    offset: Number
    film: Film | None = None
    codes: dict[FindingKind, CheckedCoding]

    @model_validator(mode="after")
    def _coded(self) -> Self:
        if self.codes.keys() != self.kinds:
            raise ValueError("each of the kinds has a code, and nothing else")
        return self


class OutputReading(Part):
    """One number about the image, `schemas.outputs.Output`; the tensor is (n, columns)."""

    name: OutputName
    tensor: TensorName
    column: Column = 0
    #: sigmoid of a logit, softmax over the tensor's columns, or the number as it is
    activation: Literal["sigmoid", "softmax", "none"]
    coding: CheckedCoding
    unit: Unit = "1"
    threshold: Number | None = None
    threshold_rule: str = ""

    @model_validator(mode="after")
    def _probability(self) -> Self:
        if self.activation == "none":
            return self
        if self.unit != "1":
            raise ValueError("a probability has the unit 1")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError("the threshold of a probability lies between 0 and 1")
        return self


class HeatmapAnswer(Part):
    highest: Number
    mean: Number


class SelfTest(Part):
    """Of `models.registry.self_test_image`: highest and mean logit of the heatmap, and every column of the other tensors that are
    read. `tolerance` is absolute, for other processors' rounding."""

    tolerance: Positive
    heatmap: HeatmapAnswer | None = None
    columns: dict[TensorName, tuple[Number, ...]] = Field(default_factory=dict)


class Card(Part):
    name: ModelName
    version: ModelVersion
    service: ServiceName = CHEST_RADIOGRAPH_FINDINGS
    #: for tests of the engine: refused where patients are
    test_fixture: bool = False
    intended_use: IntendedUse
    input: Input
    #: exactly one of these says where the numbers come from; an architecture goes with weights
    architecture: str | None = None
    weights: Weights | None = None
    program: Program | None = None
    remote: Remote | None = None
    heatmap: Heatmap | None = None
    outputs: tuple[OutputReading, ...] = ()
    self_test: SelfTest
    training: Training
    performance: tuple[Performance, ...] = ()
    known_failures: list[str]

    @property
    def column_tensors(self) -> dict[str, int]:
        """The (n, columns) tensors that are read, each with how many columns it has at least."""
        read = [(reading.tensor, reading.column) for reading in self.outputs]
        if self.heatmap and self.heatmap.film:
            read.append((self.heatmap.film.tensor, self.heatmap.film.column))
        return {name: 1 + max(column for tensor, column in read if tensor == name) for name, _ in read}

    @property
    def tensors(self) -> tuple[str, ...]:
        """All that are read."""
        return (*([self.heatmap.tensor] if self.heatmap else []), *self.column_tensors)

    def identity(self, card_sha256: str) -> ModelIdentity:
        """The digest is that of the weights or the program. Those of a remote model nobody here has seen: there it is
        `card_sha256`, that of card.toml, which says what is asked."""
        file = self.weights or self.program
        return ModelIdentity(name=self.name, version=self.version, weights_sha256=file.sha256 if file else card_sha256)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sum(part is not None for part in (self.weights, self.program, self.remote)) != 1:
            raise ValueError("a package has one of [weights], [program] and [remote]")
        if (self.architecture is None) != (self.weights is None):
            raise ValueError("an architecture goes with [weights]")
        if not self.tensors:
            raise ValueError("nothing is read: there is neither a [heatmap] nor one of [[outputs]]")
        names = [reading.name for reading in self.outputs]
        if len(set(names)) != len(names):
            raise ValueError("outputs: each name once")
        if self.heatmap and self.heatmap.tensor in self.column_tensors:
            raise ValueError("a tensor is a heatmap or has columns, not both")
        if self.heatmap and self.input.canvas % self.heatmap.stride:
            raise ValueError("the canvas is a whole number of the heatmap's strides")
        self._self_test_whole()
        return self

    def _self_test_whole(self) -> None:
        if (self.heatmap is None) != (self.self_test.heatmap is None):
            raise ValueError("self_test.heatmap goes with [heatmap]")
        if self.self_test.columns.keys() != self.column_tensors.keys():
            raise ValueError("self_test.columns are of all the tensors with columns that are read, and of no other")
        if any(len(self.self_test.columns[name]) < columns for name, columns in self.column_tensors.items()):
            raise ValueError("self_test.columns: of each tensor all columns")


_Card = TypeVar("_Card", bound=BaseModel)


def read_card(package: Path) -> Card:
    """Raises SettingsInvalid: no card there, or one that is not as this version reads it."""
    return read_card_as(Card, package)


def read_card_as(kind: type[_Card], package: Path) -> _Card:
    """As `read_card`, for a package of another kind."""
    return read_card_with_digest(kind, package)[0]


def read_card_with_digest(kind: type[_Card], package: Path) -> tuple[_Card, str]:
    """As `read_card_as`, and the SHA-256 of what was read."""
    path = package / "card.toml"
    reference = "/".join(package.parts[-2:])
    try:
        stored = path.read_bytes()
        card = kind.model_validate(tomllib.loads(stored.decode("utf-8")))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SettingsInvalid("load", reference, "no card.toml: see RADSTREAM_MODELS__URL, USE and GATE") from error
    except OSError as error:
        raise SettingsInvalid("load", reference, f"card.toml cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid("load", reference, f"card.toml is not TOML ({error}): restore it from the release") from error
    except ValidationError as error:
        said = "; ".join(_said(e["loc"], e["msg"]) for e in error.errors())
        raise SettingsInvalid("load", reference, f"card.toml: {said}: correct the card") from error
    return card, hashlib.sha256(stored).hexdigest()


def _said(place: tuple[str | int, ...], message: str) -> str:
    """outputs[2].coding.code: what is wrong there."""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    reason = message.removeprefix("Value error, ")
    return f"{words}: {reason}" if words else reason
