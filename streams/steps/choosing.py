"""Which images of a study a model may see, by their headers. Pure rules in a stated order; every refusal has its reason in words.

The headers are looked at twice: as the archive describes the study, and inside the file that was fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from schemas.findings import NotAnalysed, NotAnalysedReason
from schemas.ports import Radiograph
from schemas.study_events import ImageReference
from streams.choosing_settings import ChoosingSettings
from streams.header_words import named, names_any, stated, term

_Image = TypeVar("_Image")

#: (0008,0068): raw detector data, of which the same exposure FOR PRESENTATION is sent beside it
_FOR_PROCESSING = "FOR PROCESSING"
#: the SOP class of such images (PS3.6 table A-1), for those that leave out (0008,0068)
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """The defined terms, in capitals, with which a model may be used, and the words in which this site says them.

    A body part is required by default: an unnamed radiograph is as likely a hand as a chest, and a refusal is seen while
    a wrong "nothing found" is not. A view may be absent (CR readers seldom send it), but not another one."""

    #: (0008,0060)
    modalities: frozenset[str] = frozenset({"CR", "DX"})
    #: (0018,0015); PS3.16 annex L
    body_parts: frozenset[str] = frozenset({"CHEST"})
    #: (0018,5101)
    view_positions: frozenset[str] = frozenset({"PA", "AP"})
    #: whether an image that does not say its body part, or its view, is refused
    body_part_required: bool = True
    view_required: bool = False
    #: completed years, both included
    minimum_age_years: int | None = None
    maximum_age_years: int | None = None
    #: whether pictures taken at the bedside may be used
    portable: bool = True
    words: ChoosingSettings = field(default_factory=ChoosingSettings)


class Headers(Protocol):
    """What `ImageReference` and `Radiograph` both tell."""

    @property
    def modality(self) -> str | None: ...

    @property
    def body_part_examined(self) -> str | None: ...

    @property
    def view_position(self) -> str | None: ...

    @property
    def image_type(self) -> tuple[str, ...]: ...

    @property
    def series_description(self) -> str | None: ...

    @property
    def protocol_name(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class StudyHeaders:
    """What is told of the study, not of one image."""

    patient_age_years: int | None = None
    study_description: str | None = None


def refusal(image: Headers, use: IntendedUse) -> NotAnalysed | None:
    """Why the image is outside the intended use; None when it is inside."""
    return _first(_RULES, image, use)


def choose(
    images: Sequence[ImageReference], use: IntendedUse, study: StudyHeaders = StudyHeaders()
) -> tuple[ImageReference, ...] | NotAnalysed:
    """The images to analyse, in the order given; or why there is none: the refusal of the image that came furthest."""
    if not images:
        return NotAnalysed(reason=NotAnalysedReason.NO_IMAGE, explanation="The study holds no image.")
    refusals = [refusal(image, use) or _first(_DESCRIBED, image, use) for image in images]
    suitable = [image for image, refused in zip(images, refusals, strict=True) if refused is None]
    if not suitable:
        order = [reason for reason, _ in (*_RULES, *_DESCRIBED)]
        return max((refused for refused in refusals if refused is not None), key=lambda refused: order.index(refused.reason))
    return _refusal_of_study(study, use) or _one_of_each_exposure(suitable)


def as_the_rules_read_it(radiograph: Radiograph, use: IntendedUse) -> Radiograph:
    """The radiograph with the card's terms, where the headers say them in other words; the body part also where only a text
    says it. To be called with what `refusal` lets pass."""

    def read(terms: frozenset[str], allowed: frozenset[str], otherwise: str | None) -> str | None:
        return min(terms & allowed, default=otherwise)

    words = use.words
    body_parts = stated(radiograph.body_part_examined, words.body_part_words) or named(_texts(radiograph), words.body_part_words)
    return replace(
        radiograph,
        modality=read(stated(radiograph.modality, words.modality_words), use.modalities, radiograph.modality),
        body_part_examined=read(body_parts, use.body_parts, radiograph.body_part_examined),
        view_position=read(stated(radiograph.view_position, words.view_words), use.view_positions, radiograph.view_position),
    )


# ------------------------------------------------------------------------------------- rules: what is wrong, in words


def _wrong_modality(image: Headers, use: IntendedUse) -> str | None:
    if stated(image.modality, use.words.modality_words) & use.modalities:
        return None
    return _other_term("modality", image.modality, use.modalities)


def _wrong_body_part(image: Headers, use: IntendedUse) -> str | None:
    return _another("body part", image.body_part_examined, image, use.words.body_part_words, use.body_parts, use.body_part_required)


def _wrong_view(image: Headers, use: IntendedUse) -> str | None:
    return _another("view", image.view_position, image, use.words.view_words, use.view_positions, use.view_required)


def _portable(image: Headers, use: IntendedUse) -> str | None:
    if use.portable or not names_any(_texts(image), use.words.portable_words):
        return None
    return _PORTABLE


def _processed(image: Headers, use: IntendedUse) -> str | None:
    """Not by values 1 and 2: converters write DERIVED and SECONDARY for no more than another transfer syntax (RG2_RLE)."""
    if names_any((*image.image_type[2:], image.series_description), use.words.processed_words):
        return "The image was made from the exposure, or for positioning; this model is for the exposure itself."
    return None


def _no_grayscale_projection(image: ImageReference, use: IntendedUse) -> str | None:
    """Type 1 in every image (PS3.3 C.7.6.3), but left out by some archives: then the file is asked, by the decoder."""
    grayscale = term(image.photometric_interpretation) in ("MONOCHROME1", "MONOCHROME2", "")
    return None if grayscale and (image.number_of_frames or 1) == 1 else "The image is not a single grayscale projection."


def _for_processing(image: ImageReference, use: IntendedUse) -> str | None:
    """The intent where it is stated: a For Processing class that says FOR PRESENTATION is real (966_fixed)."""
    intent = term(image.presentation_intent_type) or (_FOR_PROCESSING if image.sop_class_uid == _DX_FOR_PROCESSING else "")
    return "The study holds images for processing only, none for presentation." if intent == _FOR_PROCESSING else None


_PORTABLE = "The picture was taken at the bedside; this model is for others."
#: on what archive and file both tell
_RULES: tuple[tuple[NotAnalysedReason, Callable[[Headers, IntendedUse], str | None]], ...] = (
    (NotAnalysedReason.WRONG_MODALITY, _wrong_modality),
    (NotAnalysedReason.WRONG_BODY_PART, _wrong_body_part),
    (NotAnalysedReason.WRONG_VIEW, _wrong_view),
    (NotAnalysedReason.PORTABLE, _portable),
    (NotAnalysedReason.WRONG_IMAGE_TYPE, _processed),
)
#: on the archive's description alone, after those
_DESCRIBED: tuple[tuple[NotAnalysedReason, Callable[[ImageReference, IntendedUse], str | None]], ...] = (
    (NotAnalysedReason.WRONG_IMAGE_TYPE, _no_grayscale_projection),
    (NotAnalysedReason.NO_IMAGE, _for_processing),
)


def _first(
    rules: Iterable[tuple[NotAnalysedReason, Callable[[_Image, IntendedUse], str | None]]], image: _Image, use: IntendedUse
) -> NotAnalysed | None:
    for reason, rule in rules:
        explanation = rule(image, use)
        if explanation is not None:
            return NotAnalysed(reason=reason, explanation=explanation)
    return None


def _refusal_of_study(study: StudyHeaders, use: IntendedUse) -> NotAnalysed | None:
    if not use.portable and names_any([study.study_description], use.words.portable_words):
        return NotAnalysed(reason=NotAnalysedReason.PORTABLE, explanation=_PORTABLE)
    low, high, age = use.minimum_age_years, use.maximum_age_years, study.patient_age_years
    limits = " ".join(f"{word} {limit} years" for word, limit in (("from", low), ("up to", high)) if limit is not None)
    if not limits or (age is None and use.words.unknown_age == "analyse"):
        return None
    if age is not None and (low is None or age >= low) and (high is None or age <= high):
        return None
    told = "is outside" if age is not None else "is not stated, as it must be for"
    return NotAnalysed(
        reason=NotAnalysedReason.WRONG_AGE,
        explanation=f"The patient's age {told} the ages of this model: {limits}.",
    )


def _one_of_each_exposure(images: Sequence[ImageReference]) -> tuple[ImageReference, ...]:
    """Of images with the same Irradiation Event UIDs (0008,3010) the first. Times and numbers are no sign of it: two exposures
    of one minute are common."""
    by_exposure: dict[tuple[str, ...], ImageReference] = {}
    for image in images:
        events = tuple(sorted(filter(None, image.irradiation_event_uids)))
        by_exposure.setdefault(events or (image.sop_instance_uid,), image)
    return tuple(by_exposure.values())


def _another(
    name: str, value: str | None, image: Headers, words: Mapping[str, Iterable[str]], allowed: frozenset[str], required: bool
) -> str | None:
    """A stated term must be an allowed one, and is not believed when the texts name others only. Where none is stated, the
    texts may tell it, and must not name others as well."""
    terms, told = stated(value, words), named(_texts(image), words)
    ours, others = told & allowed, told - allowed
    if terms:
        if not terms <= allowed:
            return _other_term(name, value, allowed)
        wrong = bool(others) and not ours
    else:
        if required and not told:
            return _other_term(name, value, allowed)
        wrong = bool(others)
    return f"A text of the image names another {name}; this model is for {_either(allowed)}." if wrong else None


def _texts(image: Headers) -> tuple[str | None, str | None]:
    return image.series_description, image.protocol_name


def _other_term(name: str, value: str | None, allowed: frozenset[str]) -> str:
    """A defined term is repeated only when it is one word in capitals, as CS allows: anything else may be free text."""
    said = term(value)
    told = f"is {said}" if said.isalpha() and len(said) <= 16 else "is not stated" if not said else "is another one"
    return f"The {name} {told}; this model is for {_either(allowed)}."


def _either(allowed: frozenset[str]) -> str:
    return " or ".join(sorted(allowed))
