"""Which images of a study a model may see, by their headers. Pure rules; every refusal has its reason in words.

The headers are looked at twice: as the archive describes the study, and inside the file that was fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.events import ImageReference
from schemas.findings import NotAnalysed, NotAnalysedReason

#: (0008,0068): raw detector data, of which the same exposure FOR PRESENTATION is sent beside it
_FOR_PROCESSING = "FOR PROCESSING"


@dataclass(frozen=True, slots=True)
class IntendedUse:
    """The defined terms, in capitals, with which a model may be used.

    A body part is required by default: an unnamed radiograph is as likely a hand as a chest, and a refusal is seen while
    a wrong "nothing found" is not. A view may be absent (CR readers seldom send it), but not another one."""

    #: (0008,0060)
    modalities: frozenset[str] = frozenset({"CR", "DX"})
    #: (0018,0015); PS3.16 annex L names the chest CHEST, CR readers also send THORAX
    body_parts: frozenset[str] = frozenset({"CHEST", "THORAX"})
    #: (0018,5101)
    view_positions: frozenset[str] = frozenset({"PA", "AP"})
    #: whether an image that does not say its body part, or its view, is refused
    body_part_required: bool = True
    view_required: bool = False


class Headers(Protocol):
    """What `ImageReference` and `Radiograph` both tell."""

    @property
    def modality(self) -> str | None: ...

    @property
    def body_part_examined(self) -> str | None: ...

    @property
    def view_position(self) -> str | None: ...


def _term(value: str | None) -> str:
    return (value or "").strip().upper()


def _is_another(value: str | None, allowed: frozenset[str], required: bool) -> bool:
    term = _term(value)
    return term not in allowed if term else required


def _wrong_modality(image: Headers, use: IntendedUse) -> bool:
    return _term(image.modality) not in use.modalities


def _wrong_body_part(image: Headers, use: IntendedUse) -> bool:
    return _is_another(image.body_part_examined, use.body_parts, use.body_part_required)


def _wrong_view(image: Headers, use: IntendedUse) -> bool:
    return _is_another(image.view_position, use.view_positions, use.view_required)


_RULES: tuple[tuple[NotAnalysedReason, Callable[[Headers, IntendedUse], bool]], ...] = (
    (NotAnalysedReason.WRONG_MODALITY, _wrong_modality),
    (NotAnalysedReason.WRONG_BODY_PART, _wrong_body_part),
    (NotAnalysedReason.WRONG_VIEW, _wrong_view),
)


def refusal(image: Headers, use: IntendedUse) -> NotAnalysed | None:
    """Why the image is outside the intended use; None when it is inside."""
    for reason, is_wrong in _RULES:
        if is_wrong(image, use):
            return NotAnalysed(reason=reason, explanation=_explanation(reason, image, use))
    return None


def choose(images: Sequence[ImageReference], use: IntendedUse) -> tuple[ImageReference, ...] | NotAnalysed:
    """The images to analyse, in the order given; or why there is none: the refusal of the image that came furthest."""
    if not images:
        return NotAnalysed(reason=NotAnalysedReason.NO_IMAGE, explanation="The study holds no image.")
    refusals = {image.sop_instance_uid: refusal(image, use) for image in images}
    suitable = [image for image in images if refusals[image.sop_instance_uid] is None]
    if not suitable:
        order = [reason for reason, _ in _RULES]
        return max((r for r in refusals.values() if r is not None), key=lambda r: order.index(r.reason))
    shown = tuple(image for image in suitable if _term(image.presentation_intent_type) != _FOR_PROCESSING)
    if not shown:
        return NotAnalysed(
            reason=NotAnalysedReason.NO_IMAGE, explanation="The study holds images for processing only, none for presentation."
        )
    return shown


def _explanation(reason: NotAnalysedReason, image: Headers, use: IntendedUse) -> str:
    """A defined term is repeated only when it is one word in capitals, as CS allows: anything else may be free text."""
    name, value, allowed = {
        NotAnalysedReason.WRONG_MODALITY: ("modality", image.modality, use.modalities),
        NotAnalysedReason.WRONG_BODY_PART: ("body part", image.body_part_examined, use.body_parts),
        NotAnalysedReason.WRONG_VIEW: ("view", image.view_position, use.view_positions),
    }[reason]
    term = _term(value)
    told = f"is {term}" if term.isalpha() and len(term) <= 16 else "is not stated" if not term else "is another one"
    return f"The {name} {told}; this model is for {' or '.join(sorted(allowed))}."
