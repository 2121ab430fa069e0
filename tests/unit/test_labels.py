"""Every word in both languages, and such that receivers can show it."""

from __future__ import annotations

from string import Formatter
from typing import get_args

import pytest

from schemas.findings import DEMONSTRATION, FindingKind, Measurement, NotAnalysedReason, Presence, Region
from schemas.outputs import Coding, Output
from schemas.renderings import labels
from schemas.renderings.labels import LABELS, LANGUAGES, Language
from tests.contract.example_findings import DEVICE_CODES, IMAGE, image

SECTIONS = {
    "finding": {kind.value for kind in FindingKind},
    "not-analysed": {reason.value for reason in NotAnalysedReason},
    "presence": set(get_args(Presence)),
    "answer": set(get_args(Presence)),
    "plane": set(get_args(Measurement.model_fields["plane"].annotation)),
    "place": {f"{down}-{across}" for down in ("upper", "middle", "lower") for across in ("left", "middle", "right")},
}
ALL = [(section, name) for section, names in LABELS.items() for name in names]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_member_has_its_words_and_nothing_else_has(section: str) -> None:
    assert set(LABELS[section]) == SECTIONS[section]


@pytest.mark.parametrize(("section", "name"), ALL)
def test_both_languages_say_it(section: str, name: str) -> None:
    said = LABELS[section][name]
    assert tuple(said) == LANGUAGES
    assert all(words.strip() == words != "" for words in said.values())
    places = [{field for _, field, _, _ in Formatter().parse(words) if field} for words in said.values()]
    assert places[0] == places[1]


@pytest.mark.parametrize(("section", "name"), ALL)
def test_every_receiver_can_show_it(section: str, name: str) -> None:
    """English is ASCII. Chinese is Big5, without the trail bytes at which a receiver cuts that splits before it decodes."""
    assert LABELS[section][name]["en"].isascii()
    for character in LABELS[section][name]["zh-TW"]:
        assert character.encode("cp950")[1:] not in (b"\\", b"|")
        assert character not in "|^~\\&"


def test_the_disclaimer_is_that_of_the_product() -> None:
    assert labels.disclaimer("en") == DEMONSTRATION


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("central-venous-catheter", ("Central Venous Catheter", "中心靜脈導管")),
        ("endotracheal-tube", ("Endotracheal Tube", "氣管內管")),
        ("nasogastric-tube", ("Nasogastric Tube", "鼻胃管")),
        ("pacemaker", ("Pacemaker", "心律調節器")),
    ],
)
def test_devices(name: str, words: tuple[str, str]) -> None:
    output = Output(name=name, coding=DEVICE_CODES[name], value=0.5)
    assert tuple(labels.output(output, language) for language in LANGUAGES) == words


@pytest.mark.parametrize(("display", "words"), [("Tip to carina", "Tip to carina"), (" ", "tip-to-carina")])
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_output_without_label_is_called_by_its_code_or_its_name(language: Language, display: str, words: str) -> None:
    output = Output(name="tip-to-carina", coding=Coding(system="urn:example:x", code="1", display=display), value=1)
    assert labels.output(output, language) == words


@pytest.mark.parametrize(
    ("left", "top", "words"),
    [
        (0, 0, "upper left of the image"),
        (1200, 900, "middle of the image"),
        (2400, 2000, "lower right of the image"),
        (2400, 0, "upper right of the image"),
        (9999, 9999, "lower right of the image"),  # a box may lie beyond the image
    ],
)
def test_a_place_is_one_of_the_picture(left: float, top: float, words: str) -> None:
    region = Region(sop_instance_uid=IMAGE, left=left, top=top, width=10, height=10)
    assert labels.place(region, image(probability=0.5), "en") == words  # 2048 rows, 2500 columns


@pytest.mark.parametrize(
    ("value", "words"), [(31.5, "31.5"), (1234567.0, "1234567"), (0.00001, "0.00001"), (1e-7, "0"), (0.725, "0.725"), (12.0, "12")]
)
def test_numbers_for_people_have_no_exponent(value: float, words: str) -> None:
    assert labels.number(value) == words
