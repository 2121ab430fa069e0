"""Which of the records count as said then or now: the last state, of what the replay read, before its last input."""

from __future__ import annotations

from dataclasses import replace

from schemas.findings import NotAnalysedReason
from schemas.history import Span
from schemas.identifiers import identity
from schemas.ports import Place, Record
from streams.replay.changes import Tolerance
from streams.replay.differing import differences
from streams.replay.said import Side, of_requests, until
from tests.contract import example_findings as example
from tests.unit.cases import NOON, minutes
from tests.unit.replays import (
    HERE,
    THERE,
    letter,
    record,
    request,
    said,
    side,
    uid,
)

#: as streams.replay.whose has it
MESSAGE = "HIS|TAICHUNG|MSG00001"


def test_the_last_state_counts_and_a_repetition_is_none() -> None:
    first, last = said(1, [HERE]), said(1, [THERE], sequence=32)
    then = side(last, first, last, first)
    assert differences(then, side(first, last), Tolerance())[0].changes == ()
    assert then.states((str(uid(1)), last.service)) == 2


def test_every_service_speaks_for_itself() -> None:
    devices = example.devices_alone(said(1).subject)
    found = differences(side(said(1), devices), side(said(1, [HERE]), devices), Tolerance())
    assert [(one.service, bool(one.changes)) for one in found] == [(devices.service, False), (said(1).service, True)]


def test_what_was_published_stands_but_does_not_count() -> None:
    live = side(said(1))
    published = said(1, [HERE], sequence=19, analysis_id=said(9).analysis_id)
    live.result(record(published, cause="sandbox.last-week.ai.results/0/1"))
    live.result(record(published.model_copy(update={"subject": said(1, sequence=20).subject, "verified_at": NOON})))
    key = (str(uid(1)), published.service)
    withdrawn = said(1, sequence=21, reason=NotAnalysedReason.MODEL_RECALLED)
    withdrawn = withdrawn.model_copy(update={"analysis_id": identity("recalled", str(published.analysis_id))})
    live.result(replace(record(withdrawn), headers=()))
    assert (live.latest[key].sequence, live.states(key), live.standing[key].sequence) == (16, 1, 21)


def test_of_requests_and_dead_letters_the_last_that_counts() -> None:
    found = Side()
    for sequence in (32, 16):
        found.request(request(1, sequence))
        found.letter(letter(1, sequence))
    (told,) = found.letters.values()
    assert (found.asked[uid(1)].sequence, {one.sequence for one in told.values()}) == (32, {16, 32})
    none = Side(counts=lambda subject, record: False)
    none.request(request(1))
    none.letter(letter(1))
    assert not none.asked and not none.letters


def test_of_what_was_said_live_only_answers_to_what_the_replay_read_count() -> None:
    counts = of_requests((Span("ai.requests", 0, 5, 7), Span("ai.requests", 1, 0, 1)))
    inside = ["ai.requests/0/5", "ai.requests/0/6", "ai.requests/1/0"]
    outside = ["ai.requests/0/4", "ai.requests/0/7", "ai.requests/1/1", "ai.requests.stat/0/5", "nothing", "a/b/c"]
    subject = said(1).subject
    for cause in inside:
        assert counts(subject, record(said(1), cause=cause))
    for cause in outside:
        headers = (("cause", cause.encode()),)
        assert not counts(subject, replace(record(said(1)), headers=headers))


def test_what_came_after_the_last_input_does_not_count_but_what_a_timer_made_does() -> None:
    new = side(said(1, minutes=5), said(2, minutes=12), topic="sandbox.x.ai.results")
    counts = until(minutes(10), new)
    live = [(said(1, minutes=10), True), (said(1, minutes=11), False), (said(2, minutes=12), True), (said(2, minutes=13), False)]
    assert [counts(one.subject, record(one)) for one, _ in live] == [expected for _, expected in live]
    assert not counts(said(3, minutes=11).subject, record(said(3)))


def test_a_state_of_an_input_whose_clock_was_ahead_counts_and_what_came_later_does_not() -> None:
    """A message that a HIS wrote onto the topic itself is received when its record says; the replay takes it earlier."""
    new = side(said(1, minutes=5), topic="sandbox.x.ai.results")
    counts = until(minutes(10), new, {MESSAGE: [minutes(60), minutes(500)]})
    counted = {at: counts(said(1, minutes=at).subject, record(said(1))) for at in (10, 11, 58.9, 59.5, 60, 60.1, 499.9, 501)}
    assert [at for at, yes in counted.items() if yes] == [10, 59.5, 60, 499.9]
    assert not counts(said(1, minutes=60, messages=()).subject, record(said(1))), "it was not of that message"


def test_one_sender_ahead_makes_not_all_that_came_later_count() -> None:
    """A day ahead, a record each minute: at any moment of that day one of its records says that it is written."""
    some_day = [minutes(1440 + at) for at in range(600)]
    counts = until(minutes(600), side(), {MESSAGE: some_day[:1], str(uid(2)): some_day[1:]})
    told = {study: counts(said(study, minutes=1500, messages=()).subject, record(said(study))) for study in (1, 2)}
    assert told == {1: False, 2: True}
    assert not counts(said(1, minutes=1500).subject, record(said(1)))


def test_nor_all_that_came_until_then_of_the_same_study() -> None:
    """A study says itself when it was complete, so the replay's own state of it is of that time."""
    new = side(said(2, minutes=1500, messages=()), topic="sandbox.x.ai.results")
    counts = until(minutes(600), new, {str(uid(2)): [minutes(1500)]})
    counted = {at: counts(said(2, minutes=at).subject, record(said(2))) for at in (600, 700, 1500)}
    assert counted == {600: True, 700: False, 1500: True}


def test_records_that_cannot_be_read_are_counted() -> None:
    found = Side(frozenset({"1.2.1"}))
    broken = Record(Place("ai.results", 0, 0), b"1.2.1", b"{", (), NOON)
    for take in (found.result, found.text, found.request):
        take(broken)
        take(replace(broken, key=b"1.2.2"))
    assert found.unreadable == 3
    found.letter(broken)
    assert len(found.other_letters) == 1
