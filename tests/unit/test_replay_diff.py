"""What was said then against what is said now: every kind of difference is named, and only where there is one."""

from __future__ import annotations

import random

import pytest

from schemas.events import Priority
from schemas.findings import FindingKind, Findings, Measurement, NotAnalysedReason
from schemas.identifiers import AccessionNumber, PatientIdentifier
from streams.replay.changes import Tolerance
from streams.replay.differing import differences
from tests.contract import example_findings as example
from tests.unit.cases import NOON
from tests.unit.replays import (
    HERE,
    NAME,
    OTHER_MODEL,
    THERE,
    Place4,
    bundle,
    kinds,
    one_diff,
    request,
    said,
    side,
    uid,
)


def moved(by: float) -> Place4:
    return (HERE[0] + by, HERE[1], HERE[2], HERE[3])


def test_the_same_is_the_same_whatever_the_model_is_called() -> None:
    assert one_diff(said(1, [HERE]), said(1, [HERE], model=OTHER_MODEL)).changes == ()


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (said(1, [HERE]), said(1, [moved(10)]), ["moved"]),
        (said(1, [HERE]), said(1, [moved(1.9)]), []),
        (said(1, [HERE]), said(1, [HERE], kind=FindingKind.MASS), ["renamed"]),
        (said(1, [HERE]), said(1, [HERE], found=0.85), ["score"]),
        (said(1, [HERE]), said(1, [HERE], probability=0.76), ["score"]),
        (said(1, [HERE]), said(1, [HERE], probability=0.751), []),
        (said(1, [HERE]), said(1, [HERE, THERE]), ["appeared"]),
        (said(1, [HERE, THERE]), said(1, [THERE]), ["vanished"]),
        (said(1, [HERE]), said(1, [THERE]), ["vanished", "appeared"]),
        (said(1, [HERE]), said(1, probability=0.75), ["vanished", "presence"]),
        (said(1, [HERE]), said(1, reason=NotAnalysedReason.WRONG_VIEW), ["analysed"]),
        (said(1, reason=NotAnalysedReason.LATE), said(1, reason=NotAnalysedReason.WRONG_VIEW), ["analysed"]),
        (said(1, probability=0.4), said(1, probability=0.4, threshold=0.3), ["presence"]),
        (said(1), said(1, accession_number=AccessionNumber(value="A2", assigner="RIS")), ["decided"]),
        (said(1), said(1, patient=PatientIdentifier(value="2", assigner="H")), ["decided"]),
        (said(1), said(1, orders=()), ["decided"]),
        (said(1), said(1, revision="9" * 64), ["decided"]),
        (said(1), said(1, outward=False), ["decided"]),
        (said(1), said(1, verified_at=NOON), ["decided"]),
    ],
)
def test_each_kind_by_its_name(then: Findings, now: Findings, expected: list[str]) -> None:
    assert kinds(one_diff(then, now)) == expected
    assert bool(kinds(one_diff(now, then))) is bool(expected), "what differs differs both ways"


def test_that_other_images_were_looked_at_is_told_though_the_same_was_found() -> None:
    (seen,) = said(1).images
    two = said(1, images=(seen, seen.model_copy(update={"sop_instance_uid": f"{example.IMAGE}.9"})))
    for found in (one_diff(two, said(1)), one_diff(said(1), two)):
        assert [change.words for change in found.changes] == ["other than then: which images were looked at"]


def test_no_words_hold_a_number_of_a_patient_or_an_order() -> None:
    other = {"patient": PatientIdentifier(value="SECRET", assigner="H"), "accession_number": None, "orders": ()}
    assert "SECRET" not in str(one_diff(said(1), said(1, **other)).changes)


def test_a_tolerance_is_what_one_asks_for() -> None:
    then, now = said(1, [HERE]), said(1, [moved(10)], probability=0.8)
    assert one_diff(then, now, Tolerance(score=0.05, pixels=10.0)).changes == ()


def test_a_size_that_changed_alone() -> None:
    then, now = (with_axis(said(1, [HERE]), value) for value in (12.0, 14.0))
    (change,) = one_diff(then, now).changes
    assert (change.kind, change.words) == ("moved", "nodule 1: long axis 12.0 mm then, 14.0 mm now")


def with_axis(findings: Findings, value: float) -> Findings:
    (one,) = findings.findings
    axis = Measurement(value=value, plane="detector")
    return findings.model_copy(update={"findings": (one.model_copy(update={"long_axis": axis}),)})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.02, 0.93, 0.4, 0.1), []),
        ((0.02, 0.93, 0.6, 0.1), ["nasogastric-tube: 0.4 (absent) then, 0.6 (present) now"]),
        ((0.02, 0.95, 0.4, 0.1), ["endotracheal-tube: 0.93 (present) then, 0.95 (present) now"]),
    ],
)
def test_outputs(values: tuple[float, ...], words: list[str]) -> None:
    then, now = (said(1, images=(example.image(*example.devices(*v), probability=0.2),)) for v in ((0.02, 0.93, 0.4, 0.1), values))
    assert [change.words for change in one_diff(then, now).changes if change.kind == "outputs"] == words
    without = said(1, images=(example.image(probability=0.2),))
    assert kinds(one_diff(then, without)) == ["outputs"] * 4


def test_measures() -> None:
    def measured(value: float, unit: str = "mm") -> Findings:
        output = example.measure().model_copy(update={"value": value, "unit": unit})
        return said(1, images=(example.image(output, probability=0.2),))

    for value, unit, expected in ((43.54, "mm", []), (43.6, "mm", ["outputs"]), (43.5, "cm", ["outputs"])):
        assert kinds(one_diff(measured(43.5), measured(value, unit))) == expected


def test_text_is_what_receivers_read() -> None:
    """Its numbers have kinds and tolerances of their own."""
    findings = said(1, [HERE])
    then, now = side(findings), side(findings, topic="sandbox.x.ai.results")
    for where, text in ((then, "AI suspects 1 nodule (0.90)."), (now, "AI suspects 1 nodule (0.91).")):
        where.text(bundle(findings, text))
    assert differences(then, now, Tolerance())[0].changes == ()
    now.text(bundle(findings, "AI suspects 1 nodule of the lung (0.90)."))
    assert kinds(differences(then, now, Tolerance())[0]) == ["text"]


def test_what_only_one_of_them_said() -> None:
    found = differences(side(said(1)), side(said(2), topic="sandbox.x.ai.results"), Tolerance())
    assert [kinds(one) for one in found] == [["only-then"], ["only-now"]]


def test_events_that_were_decided_otherwise() -> None:
    then, now = side(said(1), said(1, sequence=32)), side(said(1, sequence=32), topic="sandbox.x.ai.results")
    then.request(request(1, 32))
    now.request(request(1, 16))
    now.request(request(1, 32, f"sandbox.{NAME}.ai.requests.stat", Priority.STAT))
    (found,) = differences(then, now, Tolerance())
    assert [change.words for change in found.changes] == [
        "2 state(s) then, 1 now",
        "lane routine then, STAT now",
        "priority routine then, stat now",
    ]


def test_among_many_exactly_those_that_were_changed_are_named() -> None:
    """By another way: each study is changed, or not, when it is made."""
    drawn = random.Random(8)
    changed, then, now = set(), [], []
    for number in range(1, 301):
        places = [(drawn.uniform(0, 2000), drawn.uniform(0, 1500), 60.0, 80.0) for _ in range(drawn.randint(0, 3))]
        score = drawn.uniform(0.2, 0.8)
        then.append(said(number, places, probability=score))
        match drawn.randint(0, 4):
            case 0 if places:
                places, other = [(left + 30, *rest) for left, *rest in places], True
            case 1:
                score, other = score + 0.1, True
            case 2 if places:
                places, other = places[1:], True
            case _:  # the same, but for rounding
                score, other = score + 1e-5, False
        now.append(said(number, places, probability=score, model=OTHER_MODEL))
        changed |= {str(uid(number))} if other else set()
    drawn.shuffle(now)
    found = differences(side(*then), side(*now), Tolerance())
    assert {one.study_instance_uid for one in found if one.changes} == changed
    assert len(found) == 300
