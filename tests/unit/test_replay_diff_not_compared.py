"""What cannot be compared and what gave up: it is told why, and what of it stands against a release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.errors import InvalidResource, ItemNotServed, ModelFailed, Rejected, StudyIncomplete
from schemas.ports import Place, Record
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences, failures
from tests.contract import example_findings as example
from tests.unit.cases import NOON
from tests.unit.replays import (
    HERE,
    NAME,
    bundle,
    kinds,
    letter,
    one_diff,
    put_aside,
    record,
    said,
    side,
    uid,
)


def test_other_pixels_cannot_be_compared() -> None:
    then = said(1, [HERE])
    (seen,) = then.images
    now = said(1, images=(seen.model_copy(update={"pixel_sha256": "c" * 64}),))
    found = one_diff(then, now)
    assert (found.changes, found.not_comparable) == ((), "1 image(s) have other pixels than then")


def test_an_image_that_is_gone_cannot_be_compared_and_why() -> None:
    then, now = side(said(1), said(2)), side(said(2), topic="sandbox.x.ai.results")
    now.letter(letter(1))
    gone, same = differences(then, now, Tolerance())
    assert (gone.changes, same.changes, same.not_comparable) == ((), (), "")
    said_why = "study 1.2.1: StudyIncomplete: the archive does not hold it; a replay does not come back to it"
    assert (gone.not_comparable, gone.failed) == (f"now a dead letter of analyse: StudyIncomplete: {said_why}", False)
    now.result(record(said(1, sequence=32), "sandbox.x.ai.results"))
    assert kinds(differences(then, now, Tolerance())[0]) == [], "a later state was answered"


def _of_a_replay(words: str) -> str:
    return f"{words}; a replay does not come back to it"


def test_what_was_answered_after_all_can_be_compared() -> None:
    now = side(said(1), topic="sandbox.x.ai.results")
    now.letter(letter(1))
    assert differences(side(said(1)), now, Tolerance())[0].not_comparable == ""


def test_a_release_goes_on_only_when_nothing_stands_against_it() -> None:
    same = one_diff(said(1), said(1))
    other = one_diff(said(1), said(1, [HERE]))
    gone = replace(same, not_comparable="gone")
    for studies, unfinished, allowed, expected in (
        ((same,), False, False, True),
        ((same, other), False, True, False),
        ((same, gone), False, False, False),
        ((same, gone), False, True, True),
        ((same,), True, True, False),
    ):
        diff = Diff("a", "b", studies, unfinished=unfinished)
        assert diff.is_clean(allow_not_comparable=allowed) is expected


@pytest.mark.parametrize(
    "error",
    [
        ModelFailed("analyse", "study 1", "no usable answer"),
        InvalidResource("analyse", "study 1", "cannot be decoded"),
        Rejected("analyse", "study 1", "ItemNotServed: HTTP status 500; a replay does not come back to it"),
        RuntimeError("boom"),
    ],
)
def test_a_model_or_a_step_that_gives_up_is_never_excused(error: Exception) -> None:
    then, now = side(said(1), said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=error))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert [one.failed for one in found.studies] == [True, False]
    assert type(error).__name__ in found.studies[0].not_comparable or "ItemNotServed" in found.studies[0].not_comparable
    assert not found.is_clean(allow_not_comparable=True)


def test_what_gave_up_then_for_the_same_reason_is_no_difference() -> None:
    failed = ModelFailed("analyse", "study 1", "no usable answer")
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=failed))
    then.letter(letter(1, error=failed))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert found.is_clean(allow_not_comparable=False)
    assert [(one.study_instance_uid, one.compared) for one in found.given_up] == [(uid(1), False)]
    assert found.studies[0].given_up == "a dead letter of analyse: ModelFailed: study 1: no usable answer"
    then.result(record(said(1)))
    assert not Diff("a", "b", differences(then, now, Tolerance())).is_clean(allow_not_comparable=True), "it was sent again then"


def test_what_gave_up_then_for_another_reason_is_a_failure_of_what_runs_now() -> None:
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    then.letter(letter(1, error=ModelFailed("analyse", "study 1", "out of memory")))
    now.letter(letter(1, error=ModelFailed("analyse", "study 1", "the new weights give NaN")))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert ([one.failed for one in found.studies], found.given_up) == ([True, False], ())
    assert not found.is_clean(allow_not_comparable=True)


@pytest.mark.parametrize(
    ("live", "replayed"),
    [
        (
            ModelFailed("analyse", "ai.requests/0/1", "no answer"),
            ModelFailed("analyse", f"sandbox.{NAME}.ai.requests/0/7", "no answer"),
        ),
        (
            ItemNotServed("analyse", "study 1", "status 500"),
            Rejected("analyse", "study 1", _of_a_replay("ItemNotServed: status 500")),
        ),
        (
            StudyIncomplete("analyse", "study 1", "2 missing"),
            Rejected("analyse", "study 1", _of_a_replay("StudyIncomplete: 3 missing")),
        ),
    ],
)
def test_a_reason_is_the_same_wherever_the_record_stands_and_however_a_replay_words_it(
    live: Exception, replayed: Exception
) -> None:
    then, now = side(said(2)), side(said(2), topic=f"sandbox.{NAME}.ai.results")
    then.letter(letter(1, error=live))
    now.letter(letter(1, error=replayed))
    (one,) = Diff("a", "b", differences(then, now, Tolerance())).given_up
    assert (one.study_instance_uid, one.not_comparable) == (uid(1), "")


def test_one_service_that_gives_up_is_no_word_of_another() -> None:
    devices = example.devices_alone(said(1).subject)
    then, now = side(said(1), devices), side(said(1), topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1, error=RuntimeError(), step=f"analyse.{devices.service}"))
    assert [one.failed for one in differences(then, now, Tolerance())] == [True, False]


def test_a_report_that_can_no_longer_be_made_is_told() -> None:
    findings = said(1, [HERE])
    then, now = side(findings), side(findings, topic=f"sandbox.{NAME}.ai.results")
    then.text(bundle(findings, "One nodule."))
    assert kinds(differences(then, now, Tolerance())[0]) == ["text"], "a report then, none now"
    now.letter(put_aside(record(findings, f"sandbox.{NAME}.ai.results"), RuntimeError("boom"), "report"))
    found = Diff("a", "b", differences(then, now, Tolerance()))
    assert found.studies[0].not_comparable == "now a dead letter of report: RuntimeError: unexpected"
    assert not found.is_clean(allow_not_comparable=True)


def test_a_dead_letter_of_no_study_counts_unless_it_was_one_then() -> None:
    message = Record(Place("hl7.v2.raw", 0, 3), b"RIS|H", b"MSH|broken", (("ce_id", b"m-1"),), NOON)
    then, now = side(said(1)), side(said(1), topic=f"sandbox.{NAME}.ai.results")
    now.letter(put_aside(message, InvalidResource("normalise", "hl7.v2.raw/0/3", "broken"), "normalise"))
    studies = differences(then, now, Tolerance())
    assert failures(then, now) == ("a dead letter of normalise: InvalidResource: hl7.v2.raw/0/3: broken",)
    assert not Diff("a", "b", studies, failures=failures(then, now)).is_clean(allow_not_comparable=True)
    then.awaited = frozenset(now.twins)
    then.letter(put_aside(message, InvalidResource("normalise", "hl7.v2.raw/0/3", "broken"), "normalise"))
    assert failures(then, now) == ()
    then.letter(put_aside(message, InvalidResource("deliver", "x", "broken"), "deliver"))
    assert (len(then.twins), then.other_letters) == (1, {}), "live, only what the replay has too is kept"


def test_where_nothing_was_compared_nothing_was_shown() -> None:
    assert not Diff("a", "b").is_clean(allow_not_comparable=True)
    then, now = side(said(1)), side(topic=f"sandbox.{NAME}.ai.results")
    now.letter(letter(1))
    assert not Diff("a", "b", differences(then, now, Tolerance())).is_clean(allow_not_comparable=True)
