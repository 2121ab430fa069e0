"""Both limits hold whatever was found, nothing is left out silently, and what must be said always is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    WITHDRAWING,
    Finding,
    FindingKind,
    Findings,
    Measurement,
    NotAnalysedReason,
    Region,
)
from schemas.hl7v2.charset import codec_of
from schemas.outputs import Coding, Output
from schemas.renderings import labels
from schemas.renderings.labels import LABELS, LANGUAGES, Language
from schemas.renderings.report_text import LEAST, Disclaimer, Unit, report_text
from tests.contract.example_findings import (
    DEVICES,
    IMAGE,
    IMAGE_2,
    devices_alone,
    every_state,
    finding,
    findings,
    image,
    not_analysed,
    subject,
    two_images,
)

MORE = {"en": re.compile(r"\.\.\. and ([0-9]+) more"), "zh-TW": re.compile("…另有 ([0-9]+) 項")}
probabilities = st.floats(0, 1)
languages = st.sampled_from(LANGUAGES)
#: no surrogates: they are in no character set
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    at, extent = st.floats(0, 3000), st.floats(1, 3000)
    uid = draw(st.sampled_from([IMAGE, IMAGE_2]))
    return Region(sop_instance_uid=uid, left=draw(at), top=draw(at), width=draw(extent), height=draw(extent))


@st.composite
def anything(draw: st.DrawFn) -> Findings:
    """Findings of any state, of up to 30 places and 12 outputs."""
    service = draw(st.sampled_from([CHEST_RADIOGRAPH_FINDINGS, "x" * 64]))
    about = subject(orders=None if draw(st.booleans()) else ())
    if draw(st.booleans()):
        return not_analysed(draw(st.sampled_from(NotAnalysedReason)), about, service=service)
    sizes = st.none() | st.builds(Measurement, value=st.floats(1e-9, 1e9), plane=st.sampled_from(["patient", "detector"]))
    place = st.tuples(st.sampled_from(FindingKind), probabilities, regions(), sizes)
    found = [
        Finding(ordinal=n, kind=kind, probability=probability, region=region, long_axis=size)
        for n, (kind, probability, region, size) in enumerate(draw(st.lists(place, max_size=30)), start=1)
    ]
    named = draw(st.lists(st.tuples(st.floats(-1e9, 1e9), st.none() | probabilities, texts), max_size=12))
    outputs = [
        Output(name=f"o{n}", coding=Coding(system="urn:x:y", code="1", display=display), value=value, threshold=threshold)
        for n, (value, threshold, display) in enumerate(named)
    ]
    images = (image(*outputs, probability=draw(probabilities)), image(uid=IMAGE_2, probability=draw(probabilities)))
    verified = draw(st.none() | st.just(datetime(2026, 1, 1, tzinfo=UTC)))
    return findings(about, *found, images=images, service=service, threshold=draw(probabilities), verified_at=verified)


def number_told(text: str, language: Language) -> int:
    """How many pieces the text says it leaves out."""
    return sum(int(told) for told in MORE[language].findall(text))


@given(
    of=anything(),
    language=languages,
    lines=st.integers(1, 12),
    limit=st.integers(LEAST, 900),
    unit=st.sampled_from(["characters", "bytes"]),
    charset=st.sampled_from(["UNICODE UTF-8", "BIG-5"]),
    disclaimer=st.sampled_from(["within", "none"]),
)
def test_both_limits(
    of: Findings, language: Language, lines: int, limit: int, unit: Unit, charset: str, disclaimer: Disclaimer
) -> None:
    text = report_text(of, language=language, lines=lines, limit=limit, unit=unit, charset=charset, disclaimer=disclaimer)
    assert text.count("\n") < lines
    assert "" not in text.split("\n")
    if unit == "characters":
        assert len(text) <= limit
    else:
        assert len(text.encode(codec_of("", charset), "replace")) <= limit
    assert text.endswith(labels.disclaimer(language)) == (disclaimer == "within")


@given(of=anything(), language=languages, lines=st.integers(1, 12), limit=st.integers(LEAST, 900))
def test_what_must_be_said_is(of: Findings, language: Language, lines: int, limit: int) -> None:
    text = report_text(of, language=language, lines=lines, limit=limit)
    assert (LABELS["phrase"]["after-verification"][language] in text) == (of.verified_at is not None)
    assert (of.service in text) == (of.service != CHEST_RADIOGRAPH_FINDINGS)
    if of.not_analysed is not None:
        assert labels.not_analysed(of.not_analysed.reason, language) in text
        assert (LABELS["phrase"]["withdrawn"][language] in text) == (of.not_analysed.reason in WITHDRAWING)
    else:
        present = of.presence
        assert present is not None
        assert re.search(f"{labels.nodule_found(language)}[:：] ?{labels.answer(present, language)}", text)


@given(of=anything(), language=languages, limit=st.integers(LEAST, 900))
def test_nothing_is_left_out_silently(of: Findings, language: Language, limit: int) -> None:
    """Pieces are findings, outputs, and that there is no order; a display that looks like our own words is no concern here."""
    whole = report_text(of, language=language, lines=10_000, limit=1_000_000)
    cut = report_text(of, language=language, limit=limit)
    if of.outputs:
        assert (cut == whole) or number_told(cut, language) > 0
        return
    told = len(re.findall(r"^[0-9]+\. ", cut, re.MULTILINE)) + (LABELS["phrase"]["no-order"][language] in cut)
    pieces = len(of.findings) + (LABELS["phrase"]["no-order"][language] in whole)
    assert told + number_told(cut, language) == pieces
    assert number_told(whole, language) == 0


def test_without_a_limit_nothing_is_left_out_however_much_there_is() -> None:
    """As the conclusion of FHIR has it."""
    coding = Coding(system="urn:x:y", code="1", display="P")
    many = image(*(Output(name=f"o{n}", coding=coding, value=0.9, threshold=0.5) for n in range(600)), probability=0.1)
    text = report_text(findings(None, images=(many,)), language="en", lines=10_000, limit=1_000_000)
    assert text.count("P 0.90") == 600
    assert number_told(text, "en") == 0


def test_the_most_probable_come_first_and_stay_longest() -> None:
    many = every_state()["many-findings"]
    text = report_text(many, language="en")
    assert [line.split(".")[0] for line in text.split("\n")[1:-2]] == ["12", "11", "10", "9"]
    assert text.split("\n")[-2] == "... and 8 more"


def test_a_device_that_is_seen_outlives_the_second_finding() -> None:
    pacemaker = Output(name="pacemaker", coding=Coding(system="urn:x:y", code="1", display="P"), value=0.9, threshold=0.5)
    many = findings(None, *(finding(n) for n in range(1, 15)), images=(image(pacemaker, probability=0.75),))
    text = report_text(many, language="zh-TW", lines=5)
    assert text.split("\n")[1:] == [
        "14. 肺結節，機率 0.87，影像左上方",
        "可見：心律調節器 0.90",
        "…另有 13 項",
        labels.disclaimer("zh-TW"),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_devices_and_measures(language: Language) -> None:
    text = report_text(devices_alone(), language=language)
    for name in ("endotracheal-tube", "pacemaker", "central-venous-catheter", "nasogastric-tube"):
        assert LABELS["output"][name][language] in text
    assert DEVICES in text
    assert LABELS["phrase"]["not-looked-for"][language] in text
    assert "43.5 mm" in report_text(every_state()["measure-alone"], language=language)


def test_the_text_of_a_report_in_both_languages() -> None:
    assert report_text(two_images(), language="en").split("\n") == [
        "Nodule or mass found: yes (2), probability 0.75, threshold 0.50",
        "2. Lung mass, probability 0.75, upper left of the image (2/2), long axis 31.5 mm at the detector",
        "1. Lung nodule, probability 0.74, upper left of the image (1/2)",
        "Seen: Endotracheal Tube 0.93, Pacemaker 0.88",
        "Not seen: Central Venous Catheter 0.30, Nasogastric Tube 0.40",
        "Demonstration model, not a medical device; not verified by a radiologist.",
    ]
    assert report_text(two_images(), language="zh-TW").split("\n") == [
        "發現結節或腫塊：有 (2)，機率 0.75，閾值 0.50",
        "2. 肺部腫塊，機率 0.75，影像左上方 (2/2)，長軸 31.5 mm 偵測器平面",
        "1. 肺結節，機率 0.74，影像左上方 (1/2)",
        "可見：氣管內管 0.93、心律調節器 0.88",
        "未見：中心靜脈導管 0.30、鼻胃管 0.40",
        "展示用模型，非醫療器材；未經放射科醫師確認。",
    ]


def test_a_disclaimer_beyond_the_limits_comes_on_top() -> None:
    many = every_state()["many-findings"]
    text = report_text(many, language="en", disclaimer="beyond")
    body, _, last = text.rpartition("\n")
    assert last == labels.disclaimer("en")
    assert body == report_text(many, language="en", disclaimer="none")


@pytest.mark.parametrize("limits", [{"lines": 0}, {"limit": LEAST - 1}])
def test_a_field_that_is_too_small_is_refused(limits: Any) -> None:
    with pytest.raises(ValueError, match="needs at least"):
        report_text(findings(), language="en", **limits)


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0.00"), (0.004, "<0.01"), (0.005, "0.01"), (0.996, ">0.99"), (0.995, ">0.99"), (1.0, "1.00")]
)
def test_what_is_not_certain_is_not_said_to_be(value: float, words: str) -> None:
    text = report_text(findings(None, images=(image(probability=value),), threshold=1.0), language="en")
    assert f"probability {words}, threshold 1.00" in text
