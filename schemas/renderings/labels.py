"""The words of findings for people, in English and Traditional Chinese: data of `labels.toml`, which a translator can read."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal, get_args

from schemas.findings import AnalysedImage, FindingKind, Measurement, NotAnalysedReason, Presence, Region
from schemas.outputs import Output

Language = Literal["en", "zh-TW"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

#: by section, name and language
LABELS: dict[str, dict[str, dict[str, str]]] = tomllib.loads(files(__package__).joinpath("labels.toml").read_text("utf-8"))


def phrase(name: str, language: Language, **values: object) -> str:
    """Of the section `phrase`, with its {places} filled. Raises KeyError for one that is not there."""
    return LABELS["phrase"][name][language].format(**values)


def disclaimer(language: Language) -> str:
    """Said by every text that shows a finding."""
    return phrase("disclaimer", language)


def finding_kind(kind: FindingKind, language: Language) -> str:
    return LABELS["finding"][kind.value][language]


def not_analysed(reason: NotAnalysedReason, language: Language) -> str:
    """Why, as the second half of a sentence."""
    return LABELS["not-analysed"][reason.value][language]


def presence(present: Presence, language: Language) -> str:
    """As a word of a table."""
    return LABELS["presence"][present][language]


def answer(present: Presence, language: Language) -> str:
    """To "was one found?"."""
    return LABELS["answer"][present][language]


def output(output: Output, language: Language) -> str:
    """Of an output that has no label the words of its terminology, else its name."""
    labels = LABELS["output"].get(output.name)
    return labels[language] if labels else " ".join(output.coding.display.split()) or output.name


def nodule_found(language: Language) -> str:
    return LABELS["output"]["nodule-found"][language]


def place(region: Region, image: AnalysedImage, language: Language) -> str:
    """In which ninth of the picture, as stored, the middle of the box lies."""
    down = _third(region.top + region.height / 2, image.rows, ("upper", "middle", "lower"))
    across = _third(region.left + region.width / 2, image.columns, ("left", "middle", "right"))
    return LABELS["place"][f"{down}-{across}"][language]


def _third(at: float, length: int, names: tuple[str, str, str]) -> str:
    return names[int(min(3 * at / length, 2.0))]


def size(measurement: Measurement, language: Language) -> str:
    """ "long axis 12.5 mm at the detector" """
    words, plane = phrase("size", language), LABELS["plane"][measurement.plane][language]
    return f"{words} {number(measurement.value)} {measurement.unit} {plane}"


def number(value: float) -> str:
    """For people: three digits that count, never an exponent; of large numbers all before the point."""
    digits = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in digits else f"{value:.6f}".rstrip("0").rstrip(".") if "e" in digits else digits
