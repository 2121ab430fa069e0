from __future__ import annotations

import pytest

from schemas.events import ImageReference
from schemas.findings import NotAnalysed, NotAnalysedReason
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID
from streams.steps.choosing import IntendedUse, choose, refusal

USE = IntendedUse()


def _image(number: int = 1, **headers: str | None) -> ImageReference:
    chest: dict[str, str | None] = {"modality": "CR", "body_part_examined": "CHEST", "view_position": "PA"}
    return ImageReference(
        series_instance_uid=SeriesInstanceUID("1.2.3"),
        sop_instance_uid=SOPInstanceUID(f"1.2.3.{number}"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        **{**chest, **headers},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"modality": "DX", "view_position": "AP"},
        {"body_part_examined": "thorax "},
        {"view_position": None},
        {"view_position": ""},
        {"presentation_intent_type": "FOR PRESENTATION"},
    ],
)
def test_a_frontal_chest_radiograph_is_chosen(headers: dict[str, str | None]) -> None:
    assert choose([_image(**headers)], USE) == (_image(**headers),)


@pytest.mark.parametrize(
    ("headers", "reason", "words"),
    [
        ({"modality": "CT"}, NotAnalysedReason.WRONG_MODALITY, "is CT"),
        ({"modality": None}, NotAnalysedReason.WRONG_MODALITY, "not stated"),
        ({"body_part_examined": "EXTREMITY"}, NotAnalysedReason.WRONG_BODY_PART, "is EXTREMITY"),
        ({"body_part_examined": None}, NotAnalysedReason.WRONG_BODY_PART, "not stated"),
        ({"body_part_examined": " "}, NotAnalysedReason.WRONG_BODY_PART, "not stated"),
        ({"view_position": "LL"}, NotAnalysedReason.WRONG_VIEW, "is LL"),
        ({"presentation_intent_type": "FOR PROCESSING"}, NotAnalysedReason.NO_IMAGE, "processing"),
    ],
)
def test_anything_else_is_refused_with_its_reason(headers: dict[str, str | None], reason: NotAnalysedReason, words: str) -> None:
    answer = choose([_image(**headers)], USE)
    assert isinstance(answer, NotAnalysed)
    assert answer.reason is reason
    assert words in answer.explanation


def test_no_image() -> None:
    answer = choose([], USE)
    assert isinstance(answer, NotAnalysed)
    assert answer.reason is NotAnalysedReason.NO_IMAGE


def test_of_a_study_only_the_suitable_images_are_chosen() -> None:
    images = [
        _image(1, view_position="LL"),
        _image(2, presentation_intent_type="FOR PROCESSING"),
        _image(3, presentation_intent_type="FOR PRESENTATION"),
        _image(4, modality="CT"),
        _image(5),
    ]
    assert choose(images, USE) == (images[2], images[4])


def test_the_reason_is_that_of_the_image_that_came_furthest() -> None:
    answer = choose([_image(1, modality="CT"), _image(2, view_position="LL"), _image(3, body_part_examined="HAND")], USE)
    assert isinstance(answer, NotAnalysed)
    assert answer.reason is NotAnalysedReason.WRONG_VIEW


def test_free_text_in_a_header_is_not_repeated() -> None:
    why = refusal(_image(body_part_examined="SMITH JOHN 1970"), USE)
    assert why is not None
    assert "SMITH" not in why.explanation


def test_the_intended_use_is_that_of_the_model() -> None:
    use = IntendedUse(body_parts=frozenset({"HAND"}))
    assert choose([_image(body_part_examined="HAND")], use)
    assert isinstance(choose([_image()], use), NotAnalysed)


def test_what_must_be_stated_is_for_the_model_to_say() -> None:
    lenient = IntendedUse(body_part_required=False)
    assert refusal(_image(body_part_examined=None), lenient) is None
    assert refusal(_image(body_part_examined="HAND"), lenient) is not None
    strict = refusal(_image(view_position=None), IntendedUse(view_required=True))
    assert strict is not None
    assert strict.reason is NotAnalysedReason.WRONG_VIEW
