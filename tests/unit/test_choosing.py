from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import NotAnalysed, NotAnalysedReason
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID
from schemas.study_events import ImageReference
from streams.choosing_settings import ChoosingSettings
from streams.header_words import named, names_any
from streams.steps.choosing import IntendedUse, StudyHeaders, choose, refusal

USE = IntendedUse()
ADULTS = IntendedUse(minimum_age_years=18)
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"


def _image(number: int = 1, **headers: Any) -> ImageReference:
    chest: dict[str, Any] = {"modality": "CR", "body_part_examined": "CHEST", "view_position": "PA"}
    return ImageReference(
        series_instance_uid=SeriesInstanceUID("1.2.3"),
        sop_instance_uid=SOPInstanceUID(f"1.2.3.{number}"),
        **{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.1", **chest, **headers},
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
        {"body_part_examined": None, "series_description": "Thórax p.a."},
        {"body_part_examined": None, "protocol_name": "W_Chest_PA"},
        {"body_part_examined": None, "view_position": None, "series_description": "Lungs"},
        {"series_description": "Chest PA and LAT"},
        {"series_description": "Chest and ribs"},
        {"image_laterality": "R", "laterality": "L"},
        {"photometric_interpretation": "MONOCHROME1", "number_of_frames": 1},
        {"image_type": ("DERIVED", "SECONDARY", "")},
        {"image_type": ("DERIVED", "PRIMARY", "POST_PROCESSED")},
        {"series_description": "Portable chest"},
        {"sop_class_uid": DX_FOR_PROCESSING, "presentation_intent_type": "FOR PRESENTATION"},
    ],
)
def test_a_frontal_chest_radiograph_is_chosen(headers: dict[str, Any]) -> None:
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
        ({"sop_class_uid": DX_FOR_PROCESSING}, NotAnalysedReason.NO_IMAGE, "processing"),
        ({"body_part_examined": "CHEST ABDOMEN"}, NotAnalysedReason.WRONG_BODY_PART, "another one"),
        ({"series_description": "Hand li. d.p."}, NotAnalysedReason.WRONG_BODY_PART, "names another body part"),
        ({"protocol_name": "LWS seitlich"}, NotAnalysedReason.WRONG_BODY_PART, "names another body part"),
        (
            {"body_part_examined": "", "series_description": "Chest", "protocol_name": "KUB"},
            NotAnalysedReason.WRONG_BODY_PART,
            "names",
        ),
        ({"body_part_examined": "", "series_description": "Toraxaufnahme"}, NotAnalysedReason.WRONG_BODY_PART, "not stated"),
        ({"series_description": "Chest LATERAL"}, NotAnalysedReason.WRONG_VIEW, "names another view"),
        ({"view_position": None, "series_description": "chest lat."}, NotAnalysedReason.WRONG_VIEW, "names another view"),
        ({"view_position": None, "series_description": "Chest PA/LAT"}, NotAnalysedReason.WRONG_VIEW, "names another view"),
        ({"photometric_interpretation": "RGB"}, NotAnalysedReason.WRONG_IMAGE_TYPE, "grayscale"),
        ({"number_of_frames": 2}, NotAnalysedReason.WRONG_IMAGE_TYPE, "grayscale"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, NotAnalysedReason.WRONG_IMAGE_TYPE, "exposure"),
        ({"image_type": ("DERIVED", "PRIMARY", "", "BONE_SUPPRESSED")}, NotAnalysedReason.WRONG_IMAGE_TYPE, "exposure"),
        ({"series_description": "Chest PA - soft tissue"}, NotAnalysedReason.WRONG_IMAGE_TYPE, "exposure"),
    ],
)
def test_anything_else_is_refused_with_its_reason(headers: dict[str, Any], reason: NotAnalysedReason, words: str) -> None:
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


@pytest.mark.parametrize(("age", "analysed"), [(18, True), (81, True), (17, False), (0, False), (None, True)])
def test_children_are_outside_the_use_for_adults_and_the_age_is_not_told(age: int | None, analysed: bool) -> None:
    answer = choose([_image()], ADULTS, StudyHeaders(age))
    if analysed:
        assert answer == (_image(),)
        return
    assert isinstance(answer, NotAnalysed)
    assert answer.reason is NotAnalysedReason.WRONG_AGE
    assert answer.explanation == "The patient's age is outside the ages of this model: from 18 years."


def test_an_upper_limit_is_a_limit() -> None:
    use = IntendedUse(minimum_age_years=18, maximum_age_years=90)
    assert not isinstance(choose([_image()], use, StudyHeaders(90)), NotAnalysed)
    answer = choose([_image()], use, StudyHeaders(91))
    assert isinstance(answer, NotAnalysed)
    assert answer.explanation.endswith("from 18 years up to 90 years.")


def test_an_unknown_age_is_refused_where_the_site_says_so() -> None:
    words = ChoosingSettings(unknown_age="refuse")
    answer = choose([_image()], IntendedUse(minimum_age_years=18, words=words))
    assert isinstance(answer, NotAnalysed)
    assert (answer.reason, "not stated" in answer.explanation) == (NotAnalysedReason.WRONG_AGE, True)
    assert choose([_image()], IntendedUse(words=words)) == (_image(),)


@pytest.mark.parametrize("where", ["series_description", "protocol_name", "study_description"])
def test_bedside_pictures_are_refused_by_a_card_that_says_so(where: str) -> None:
    told = {where: "XR chest 1 view (portable)"}
    image = _image(**{name: text for name, text in told.items() if name != "study_description"})
    study = StudyHeaders(study_description=told.get("study_description"))
    answer = choose([image], IntendedUse(portable=False), study)
    assert isinstance(answer, NotAnalysed)
    assert answer.reason is NotAnalysedReason.PORTABLE
    assert choose([image], USE, study) == (image,)
    assert choose([_image()], IntendedUse(portable=False)) == (_image(),)


def test_one_exposure_is_scored_once() -> None:
    first, copy = _image(1, irradiation_event_uids=("1.9",)), _image(2, irradiation_event_uids=("1.9",))
    other, silent, silent_too = _image(3, irradiation_event_uids=("1.8",)), _image(4), _image(5, irradiation_event_uids=("",))
    assert choose([first, copy, other, silent, silent_too], USE) == (first, other, silent, silent_too)


def test_a_copy_stays_when_its_twin_is_refused() -> None:
    raw = _image(1, irradiation_event_uids=("1.9",), presentation_intent_type="FOR PROCESSING")
    shown = _image(2, irradiation_event_uids=("1.9",))
    assert choose([raw, shown], USE) == (shown,)


def test_the_words_are_the_sites() -> None:
    words = ChoosingSettings(modality_words={"DX": ("DR",)}, body_part_words={"CHEST": ("胸部",)})
    image = _image(modality="DR", body_part_examined=None, series_description="胸部 正面")
    assert choose([image], IntendedUse(words=words)) == (image,)
    assert isinstance(choose([image], USE), NotAnalysed)


@pytest.mark.parametrize("word", ["", " ", "_", "..."])
def test_a_word_of_nothing_is_no_word(word: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        ChoosingSettings(portable_words=(word,))


@given(st.text(), st.text(), st.text())
def test_whatever_the_headers_hold_there_is_an_answer_that_repeats_no_text(series: str, protocol: str, image_type: str) -> None:
    why = refusal(_image(series_description=f"HAND {series}", protocol_name=protocol, image_type=("", "", image_type)), ADULTS)
    same = refusal(_image(series_description="HAND"), ADULTS)
    assert why is None or why.explanation in {same.explanation if same else "", *_FIXED}


_FIXED = {
    "A text of the image names another view; this model is for AP or PA.",
    "The image was made from the exposure, or for positioning; this model is for the exposure itself.",
}


@given(
    st.sampled_from(["CHEST", "BONE SUPPRESSED", "PA"]), st.sampled_from([" ", "_", "/", " - ", "^"]), st.text("xyz01", max_size=5)
)
def test_words_are_found_whole(word: str, between: str, other: str) -> None:
    text = between.join([other, *word.lower().split(), other])
    assert names_any([text], [word])
    assert not names_any([f"x{word}"], [word])
    assert named([None, text], {"TERM": (word,), "NONE": ("ABSENT",)}) == {"TERM"}
