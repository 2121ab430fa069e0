"""What a radiologist knew when he verified rings no more; what he did not, does. Where that is uncertain it rings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.discrepancies import DiscrepancyOpened
from schemas.events import OrderStatus, Priority, ReportSigned
from schemas.findings import Findings, NotAnalysedReason
from schemas.hearings import BEFORE_HEARING
from schemas.ports import Outgoing
from streams.case_state import Policy
from streams.study_settings import NewsSettings
from tests.unit.answers import answer_to, record, requested, result
from tests.unit.cases import JANE, JOHN, Hospital, minutes, order, reason, record_of, report, said, study
from tests.unit.discrepancies import acknowledgement, events_of

SIGNED = report(ReportSigned, accession="A1", at=3)
STAT = order(placer="P1", accession="A1", at=1.4, priority=Priority.STAT)
SECOND = order(placer="P2", accession="A1", at=1.4)
OPENED, WITHDRAWN = "DiscrepancyOpened", "DiscrepancyWithdrawn"


async def hears(hospital: Hospital, request: Outgoing, at: float, *, found: bool = True) -> list[str]:
    answer = answer_to(request)
    answer = answer if found else answer.model_copy(update={"findings": ()})
    return events_of(await hospital.reads(record(result(answer), at=at)))


async def test_the_report_is_read_after_two_answers_that_came_after_it(hospital: Hospital) -> None:
    first = await requested(hospital)
    assert await hears(hospital, first, 4) == []
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, second, 5) == []
    outs = await hospital.happens(SIGNED)
    words = [Findings.model_validate_json(out.value) for out in outs if out.topic == "ai.results"]
    marks = [(one.subject.sequence, one.verified_at) for one in words]
    assert marks == [(said(one).subject.sequence + 1, minutes(3)) for one in (first, second)]
    assert events_of(outs) == [OPENED]


async def test_an_order_by_which_the_report_is_found_comes_after_the_first_answer(hospital: Hospital) -> None:
    await hospital.happens(report(ReportSigned, placer="P1", at=0.5))
    await hospital.happens(study(at=1))
    (first,) = await hospital.time_passes(2.5)
    assert await hears(hospital, first, 3) == []
    (second,) = await hospital.happens(order(placer="P1", accession="A1", at=4))
    assert await hears(hospital, second, 5) == [OPENED]


async def test_he_was_told_that_nothing_is_there(hospital: Hospital) -> None:
    """By the same model, with another threshold on its card."""
    assert await hears(hospital, await requested(hospital), 1.2, found=False) == []
    (second,) = await hospital.happens(STAT)
    await hospital.happens(SIGNED)
    assert await hears(hospital, second, 5) == [OPENED]


async def test_late_stood_in_its_place_when_he_verified(hospital: Hospital) -> None:
    hospital.policy = Policy(deadline=timedelta(minutes=1))
    assert await hears(hospital, await requested(hospital), 1.2) == []
    (second,) = await hospital.happens(STAT)
    (late,) = await hospital.time_passes(2.5)
    assert reason(said(late)) is NotAnalysedReason.LATE
    assert await hospital.reads(record(late, at=2.5)) == []
    await hospital.happens(SIGNED)
    assert await hears(hospital, second, 5) == [OPENED]


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_it_was_told_of_another_patient(hospital: Hospital, acknowledged: bool) -> None:
    """Known, or looked at, it was of John."""
    hospital.policy = Policy(order_wait=timedelta(seconds=1))
    await hospital.happens(study(at=1, patient=JOHN))
    (first,) = await hospital.time_passes(1.5)
    if acknowledged:
        await hospital.happens(report(ReportSigned, accession="A1", at=0.5))
        outs = await hospital.reads(record(result(answer_to(first)), at=1.6))
        (event,) = [DiscrepancyOpened.model_validate_json(out.value) for out in outs if out.topic == "ai.discrepancies"]
        await hospital.happens(acknowledgement(event))
    else:
        assert await hears(hospital, first, 1.6) == []
    outs = [*await hospital.happens(study(at=2, patient=JANE)), *await hospital.time_passes(2.6)]
    (second,) = [out for out in outs if out.topic != "ai.results"]
    await hospital.happens(SIGNED)
    assert await hears(hospital, second, 5) == [OPENED]


async def test_it_was_told_under_another_accession_number(hospital: Hospital) -> None:
    for number in (1, 2):
        await hospital.happens(order(placer=f"P{number}", accession=f"A{number}"))
    (first,) = await hospital.happens(study(at=1))
    assert await hears(hospital, first, 1.2) == []
    await hospital.happens(report(ReportSigned, accession="A2", at=3))
    (moved,) = await hospital.happens(study(at=4, accession="A2"))
    assert await hears(hospital, moved, 5) == [OPENED]


@pytest.mark.parametrize("also_verified", [True, False])
async def test_one_that_is_open_moves_to_another_accession_number(hospital: Hospital, also_verified: bool) -> None:
    hospital.policy = Policy(escalate_after=timedelta(minutes=30))
    for number in (1, 2):
        await hospital.happens(order(placer=f"P{number}", accession=f"A{number}"))
    await hospital.happens(report(ReportSigned, accession="A1", at=0.5))
    if also_verified:
        await hospital.happens(report(ReportSigned, accession="A2", at=0.5))
    (first,) = await hospital.happens(study(at=1))
    assert await hears(hospital, first, 3) == [OPENED]
    (moved,) = await hospital.happens(study(at=4, accession="A2"))
    assert await hears(hospital, moved, 5) == [WITHDRAWN, *([OPENED] if also_verified else [])]
    assert len(events_of(await hospital.time_passes(99))) == also_verified, "the first is escalated no more"


async def test_the_same_model_that_finds_nothing_any_more_withdraws_it(hospital: Hospital) -> None:
    first = await requested(hospital)
    await hospital.happens(report(ReportSigned, accession="A1", at=0.5))
    assert await hears(hospital, first, 3) == [OPENED]
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, second, 5, found=False) == [WITHDRAWN]
    (third,) = await hospital.happens(SECOND)
    assert await hears(hospital, third, 7) == [OPENED], "and found again it rings again"


async def test_an_answer_that_correlate_has_cancelled_rings_for_nobody(hospital: Hospital) -> None:
    """The cancellation stands on the log and is not heard yet."""
    first = await requested(hospital)
    assert await hears(hospital, first, 4) == []
    (cancelled,) = await hospital.happens(order(placer="P1", accession="A1", at=5, status=OrderStatus.CANCELLED))
    assert events_of(await hospital.happens(SIGNED)) == []
    assert events_of(await hospital.reads(record(cancelled, at=6))) == []
    assert await hears(hospital, first, 4) == []


async def test_what_a_report_led_to_is_said_again_though_another_answer_was_read_in_between(hospital: Hospital) -> None:
    """It was lost between commit and log."""
    first = await requested(hospital)
    assert await hears(hospital, first, 4) == []
    lost = [out for out in await hospital.happens(SIGNED) if out.topic == "ai.discrepancies"]
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, second, 5) == [], "the same, which rings once"
    again = [out for out in await hospital.happens(SIGNED) if out.topic == "ai.discrepancies"]
    assert again == lost
    assert events_of(await hospital.happens(report(ReportSigned, accession="A1", at=9))) == [], "nor does a later report ring"


async def test_he_verified_earlier_than_the_first_report_said_that_was_read(hospital: Hospital) -> None:
    first = await requested(hospital)
    assert await hears(hospital, first, 4) == []
    (second,) = await hospital.happens(STAT)
    await hospital.happens(report(ReportSigned, accession="A1", at=4.5, sender="PACS"))
    assert await hears(hospital, second, 5) == [], "he knew"
    assert events_of(await hospital.happens(SIGNED)) == [OPENED], "he did not"


async def test_what_was_told_between_answers_of_before_nobody_knows(hospital: Hospital) -> None:
    """A database that was made before answers were heard."""
    first = await requested(hospital)
    answer = result(answer_to(first))
    early = record(answer, at=1.2)
    assert await hospital.reads(type(early)(early.place, early.key, early.value, early.headers, BEFORE_HEARING)) == []
    await hospital.happens(SIGNED)
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, second, 5) == [OPENED]
    assert await hears(hospital, first, 6) == [], "and itself it is not marked"


async def test_what_was_analysed_for_ourselves_alone_he_did_not_know(hospital: Hospital) -> None:
    """Bulk, until the date of the study is corrected: the same images, and the same is found."""
    hospital.policy = Policy(news=NewsSettings(age_limit_days=7))
    await hospital.happens(order(placer="P1", accession="A1"))
    (bulk,) = await hospital.happens(study(at=1, taken=minutes(0).date() - timedelta(days=400)))
    assert not said(bulk).subject.outward
    assert await hears(hospital, bulk, 2) == []
    await hospital.happens(SIGNED)
    (news,) = await hospital.happens(study(at=4, taken=minutes(0).date()))
    assert said(news).subject.outward
    assert await hears(hospital, news, 5) == [OPENED]


async def test_the_marked_answer_comes_from_where_the_answer_came_from(hospital: Hospital) -> None:
    """Whatever made us say it: of another cause receivers would make another Provenance."""
    first = await requested(hospital)
    heard = record(result(answer_to(first)), 17, at=4)
    await hospital.reads(heard)
    by_report = await hospital.happens(SIGNED)
    again = await hospital.reads(record(result(answer_to(first)), 18, at=9))
    assert again == by_report == await hospital.reads(record_of(SIGNED, 99))
    for out in by_report:
        headers = dict(out.headers)
        assert headers["cause"] == b"ai.results/0/17"
        trace = heard.header("traceparent")
        assert trace is not None
        assert headers["traceparent"].decode().split("-")[1] == trace.split("-")[1]
