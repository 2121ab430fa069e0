"""The deadline of a request: who is told "not analysed (late)", and that receivers end with the answer whenever it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.errors import InvalidResource, MalformedMessage
from schemas.events import FINDINGS_TYPE, OrderStatus
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Outgoing, Record
from schemas.study_events import AnalysisRequested, StudyCompleted, revision_of
from streams.case_state import Policy
from streams.due import sweep
from streams.guard import Guard, Outcome
from streams.late import DEADLINE, deadline_id
from streams.sequences import LATE
from streams.steps.correlate import deadline_passed
from tests.unit.answers import ORDER, answer_to, late_of, record, requested, result
from tests.unit.cases import (
    JANE,
    JOHN,
    CaseEvent,
    Hospital,
    follows,
    image,
    merge,
    minutes,
    order,
    person,
    reason,
    record_of,
    said,
    study,
)
from tests.unit.test_due import Log, Time


@pytest.fixture
def policy() -> Policy:
    return Policy(deadline=timedelta(minutes=10))


async def test_no_answer_within_the_deadline_is_told_as_late(hospital: Hospital) -> None:
    request = await requested(hospital)
    (timer,) = await hospital.due(99)
    assert (timer.reason, timer.case, timer.not_before) == (DEADLINE, "1.2.3", minutes(11))
    assert await hospital.time_passes(10.9) == []
    (out,) = await hospital.time_passes(11)
    late, asked = said(out), said(request)
    assert reason(late) is NotAnalysedReason.LATE
    assert (out.topic, out.key) == ("ai.results", request.key)
    assert late.subject == asked.subject.model_copy(update={"sequence": asked.subject.sequence + LATE})
    assert isinstance(late, Findings)
    assert isinstance(asked, AnalysisRequested)
    assert late.analysis_id != asked.id
    assert dict(out.headers)["ce_id"] == str(late.analysis_id).encode()
    assert dict(out.headers)["ce_type"] == FINDINGS_TYPE.encode()
    assert await hospital.due(999) == []


async def test_without_a_deadline_nobody_is_told(hospital: Hospital) -> None:
    hospital.policy = Policy(deadline=None)
    await requested(hospital)
    assert await hospital.due(99_999) == []


async def test_an_answer_ends_the_wait(hospital: Hospital) -> None:
    request = await requested(hospital)
    for _ in range(2):
        assert await hospital.reads(record(result(answer_to(request)))) == []
    assert await hospital.due(99) == []


async def test_an_answer_to_another_request_ends_no_wait(hospital: Hospital) -> None:
    first = await requested(hospital)
    (second,) = await hospital.happens(study(at=2, images=2))
    await hospital.reads(record(result(answer_to(first))))
    (timer,) = await hospital.due(99)
    assert isinstance(asked := said(second), AnalysisRequested)
    assert timer.id == deadline_id(asked.id)


async def test_reading_back_that_it_is_late_ends_no_wait(hospital: Hospital) -> None:
    first = await requested(hospital)
    late = await late_of(hospital)
    (second,) = await hospital.happens(study(at=20, images=2))
    before = await hospital.due(999)
    assert await hospital.reads(record(late)) == []
    assert await hospital.due(999) == before
    assert len(before) == 1
    assert follows(said(second), said(first))


async def test_what_is_not_analysed_has_no_deadline(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    (out,) = await hospital.happens(study(images=0))
    assert follows(said(out), None)
    assert await hospital.due(99) == []


CANCELLED = order(placer="P1", accession="A1", at=2, status=OrderStatus.CANCELLED)


@pytest.mark.parametrize("superseded_by", [study(at=2, images=2), CANCELLED])
async def test_a_superseded_request_is_never_late(hospital: Hospital, superseded_by: CaseEvent) -> None:
    await requested(hospital)
    (old,) = await hospital.due(99)
    await hospital.happens(superseded_by)
    assert await deadline_passed(old, minutes(99), cases=hospital.cases) == ()


TWO_IMAGES = study(at=1, images=2)
AN_IMAGE_LESS = study(at=2)
NOT_JANES = study(at=2, images=2, patient=JOHN)


@pytest.mark.parametrize("deadline", [None, timedelta(minutes=10)])
@pytest.mark.parametrize("corrected", [AN_IMAGE_LESS, NOT_JANES])
async def test_what_was_corrected_does_not_stand_until_the_answer(
    hospital: Hospital, corrected: StudyCompleted, deadline: timedelta | None
) -> None:
    """The archive is slow, or the request a dead letter: findings on a wrong image or patient are withdrawn all the same."""
    hospital.policy = Policy(deadline=deadline, order_wait=timedelta())
    await hospital.happens(TWO_IMAGES)
    (first,) = await hospital.time_passes(1)
    await hospital.reads(record(result(answer_to(first))))
    hospital.policy = Policy(deadline=deadline, order_wait=timedelta(minutes=60))  # which has nothing to wait for here
    (second, late) = [*await hospital.happens(corrected), *await hospital.time_passes(2)]
    assert isinstance(said(second), AnalysisRequested)
    assert reason(said(late)) is NotAnalysedReason.LATE
    assert said(first).subject.sequence < said(late).subject.sequence < said(second).subject.sequence
    assert await hospital.due(999) == []


async def test_nor_what_the_request_before_corrected(hospital: Hospital) -> None:
    """Whose timer did not fire before another image came."""
    await hospital.happens(ORDER)
    (first,) = await hospital.happens(TWO_IMAGES)
    await hospital.reads(record(result(answer_to(first))))
    await hospital.happens(AN_IMAGE_LESS)
    other = study(at=3).model_copy(update={"images": (image(1), image(3)), "revision": revision_of((image(1), image(3)))})
    (third,) = await hospital.happens(other)
    (late,) = await hospital.time_passes(3)
    assert said(late).subject.sequence == said(third).subject.sequence + LATE


async def test_what_was_merely_added_to_waits_for_its_answer(hospital: Hospital) -> None:
    """Nor is a patient another one for a merge."""
    await hospital.happens(ORDER)
    (first,) = await hospital.happens(study(at=1))
    await hospital.reads(record(result(answer_to(first))))
    await hospital.happens(study(at=2, images=2))
    (merged,) = await hospital.happens(merge(JANE, into=[person("9")], at=3))
    assert said(merged).subject.patient == person("9")
    assert await hospital.time_passes(11.9) == []


async def test_a_request_repeated_sets_no_second_timer(hospital: Hospital) -> None:
    """Nor a later one: neither by its own record nor by a status message that tells it again."""
    request = await requested(hospital)
    before = await hospital.due(99)
    again = [*await hospital.happens(study(at=1)), *await hospital.happens(order(placer="P1", accession="A1", at=5))]
    assert [out.value for out in again] == [request.value] * 2
    assert await hospital.due(99) == before
    await hospital.reads(record(result(answer_to(request))))
    await hospital.happens(study(at=1))
    assert await hospital.due(99) == []


async def test_a_crash_after_the_commit_loses_no_timer(hospital: Hospital) -> None:
    """Before its request was on the log: the record comes again and tells the same."""
    await hospital.happens(ORDER)
    lost = await hospital.happens(study(at=1))
    again = await hospital.happens(study(at=1))
    assert [out.value for out in again] == [out.value for out in lost]
    assert len(await hospital.due(99)) == 1


async def test_a_crash_of_the_sweeper_says_the_same_again(hospital: Hospital) -> None:
    await requested(hospital)
    (timer,) = await hospital.due(99)
    first = await deadline_passed(timer, minutes(11), cases=hospital.cases)
    put_off = replace(timer, attempts=3, not_before=minutes(40))
    assert await deadline_passed(put_off, minutes(41), cases=hospital.cases) == first
    assert len(first) == 1


async def test_old_times_in_events_make_nothing_late_at_once(hospital: Hospital) -> None:
    """A feed that is read from its beginning speaks of years ago: the deadline counts from when the record came."""
    await hospital.happens(ORDER)
    years_ago = study(at=-1_000_000)
    await hospital.reads(replace(record_of(years_ago, 5), timestamp=minutes(30)))
    (timer,) = await hospital.due(99)
    assert timer.not_before == minutes(40)


async def test_nor_does_a_wait_for_an_order_that_was_over_long_ago(hospital: Hospital) -> None:
    await hospital.happens(study(at=-1_000_000))
    (out,) = await hospital.time_passes(30)
    assert isinstance(said(out), AnalysisRequested)
    assert await hospital.time_passes(39.9) == []
    (late,) = await hospital.time_passes(40)
    assert reason(said(late)) is NotAnalysedReason.LATE


async def test_a_request_that_ends_as_a_dead_letter_is_late(hospital: Hospital) -> None:
    """Through guard and sweeper: whatever becomes of a request, receivers are told something."""
    request = await requested(hospital)
    log, clock = Log(), Time(minutes(2))

    async def analyse(_: Record) -> Sequence[Outgoing]:
        raise InvalidResource("analyse", "1.2.3", "broken")

    guard = Guard("analyse", analyse, log, hospital.cases, clock, asyncio.Event())
    assert await guard(record(request)) is Outcome.DEAD_LETTER
    timers = {DEADLINE: lambda due, at: deadline_passed(due, at, cases=hospital.cases)}
    assert await sweep(hospital.cases, log, clock, timers) == 0
    clock.moment = minutes(11)
    assert await sweep(hospital.cases, log, clock, timers) == 1
    letter, late = log.written
    assert letter.topic == "radstream.dead-letters"
    assert reason(said(late)) is NotAnalysedReason.LATE


@pytest.mark.parametrize("value", [b"{", b'{"analysis_id": "DOE^JANE"}'])
async def test_what_is_no_findings(hospital: Hospital, value: bytes) -> None:
    request = await requested(hospital)
    with pytest.raises(MalformedMessage) as caught:
        await hospital.reads(replace(record(result(answer_to(request))), value=value))
    assert str(caught.value) == "correlate: ai.results/0/0: not the Findings that its headers say"
