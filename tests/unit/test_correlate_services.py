"""Several services speak of one study: whatever ends its analysis or makes it wrong is said in each of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from schemas.events import OrderStatus
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason
from schemas.ports import Outgoing
from streams.case_state import Policy
from streams.sequences import LATE
from streams.study_settings import NewsSettings
from tests.contract.example_findings import DEVICES
from tests.unit.answers import ORDER, answer_to, record, requested, result
from tests.unit.cases import JOHN, CaseEvent, Hospital, gone, minutes, order, reason, said, study
from tests.unit.receiver import Receiver

CANCELLED = order(placer="P1", accession="A1", at=4, status=OrderStatus.CANCELLED)
USUAL = CHEST_RADIOGRAPH_FINDINGS


@pytest.fixture
def policy() -> Policy:
    return Policy(deadline=timedelta(minutes=10))


def services(outs: Sequence[Outgoing]) -> list[str]:
    return [value.service for out in outs if isinstance(value := said(out), Findings)]


async def hears(hospital: Hospital, findings: Findings, at: float = 2) -> list[Outgoing]:
    """`correlate` reads it."""
    return await hospital.reads(record(result(findings), at=at))


async def test_a_service_that_speaks_in_time_changes_nothing(hospital: Hospital) -> None:
    request = await requested(hospital)
    assert await hears(hospital, answer_to(request, DEVICES)) == []
    assert [reason(said(late)) for late in await hospital.time_passes(99)] == [NotAnalysedReason.LATE]  # the usual one is silent


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (CANCELLED, NotAnalysedReason.ORDER_CANCELLED),
        (gone(at=4), NotAnalysedReason.NO_IMAGE),
        (study(at=4, images=0), NotAnalysedReason.NO_IMAGE),
        (study(at=4, patient=JOHN), NotAnalysedReason.IDENTITY_MISMATCH),
    ],
)
async def test_what_ends_the_analysis_withdraws_the_report_of_every_service(
    hospital: Hospital, event: CaseEvent, why: NotAnalysedReason
) -> None:
    request = await requested(hospital)
    answers = [answer_to(request), answer_to(request, DEVICES), answer_to(request, "bones")]
    for one in answers:
        await hears(hospital, one)
    receiver = Receiver(hospital)
    await receiver.hears(*map(result, answers))
    assert receiver.live == 3 + 4 + 4
    outs = await hospital.happens(event)
    assert services(outs) == [USUAL, "bones", DEVICES]
    assert {reason(said(out)) for out in outs} == {why}
    assert len({dict(out.headers)["ce_id"] for out in outs}) == 3
    await receiver.hears(*outs)
    assert receiver.live == 0
    for service in (USUAL, "bones", DEVICES):
        report = receiver.report_of(service)
        assert report is not None
        assert report["status"] == "cancelled"


async def test_a_repeat_says_the_same_again_for_every_service(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hears(hospital, answer_to(request, DEVICES))
    first = await hospital.happens(CANCELLED)
    assert [out.value for out in await hospital.happens(CANCELLED)] == [out.value for out in first]
    for own in first:
        assert await hospital.reads(record(own)) == [], "what was said of the study is nothing new"


async def test_a_service_that_speaks_after_the_withdrawal_is_withdrawn(hospital: Hospital) -> None:
    """Its answer stood on the log already, or its analysis took longer: nobody knew of it."""
    request = await requested(hospital)
    (withdrawn,) = await hospital.happens(CANCELLED)
    late_answer = answer_to(request, DEVICES)
    receiver = Receiver(hospital)
    await receiver.hears(withdrawn, result(late_answer))
    assert receiver.live == 4
    first, again = [await hears(hospital, late_answer) for _ in range(2)]
    assert services(first) == [DEVICES]
    assert [out.value for out in again] == [out.value for out in first]
    await receiver.hears(*first, result(late_answer))
    assert receiver.live == 0


async def test_an_image_taken_away_withdraws_what_every_service_found_at_once(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    (request,) = await hospital.happens(study(at=1, images=2))
    await hears(hospital, answer_to(request))
    await hears(hospital, answer_to(request, DEVICES))
    await hospital.happens(study(at=4, images=1))
    late = await hospital.time_passes(4)
    assert sorted(services(late)) == sorted([USUAL, DEVICES])
    receiver = Receiver(hospital)
    await receiver.hears(result(answer_to(request)), result(answer_to(request, DEVICES)), *late)
    assert receiver.live == 0


async def test_and_also_of_a_service_that_nobody_knew_of_then(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    (request,) = await hospital.happens(study(at=1, images=2))
    (after,) = await hospital.happens(study(at=4, images=1))
    await hospital.time_passes(4)
    stale = answer_to(request, DEVICES)
    assert await hears(hospital, stale, at=5) == []
    assert await hospital.time_passes(4.9) == []
    (late,) = await hospital.time_passes(5)
    assert services([late]) == [DEVICES]
    receiver = Receiver(hospital)
    await receiver.hears(result(stale), late)
    assert receiver.live == 0
    for again in (said(late), stale, answer_to(after, DEVICES)):
        assert isinstance(again, Findings)
        assert await hears(hospital, again, at=6) == []
    assert [one for one in await hospital.time_passes(99) if services([one]) == [DEVICES]] == []
    await receiver.hears(result(answer_to(after, DEVICES)), late)
    assert receiver.live == 4


async def test_an_old_answer_of_a_service_that_is_known_hastens_nothing(hospital: Hospital) -> None:
    """What was merely added to waits its time: as for the usual one."""
    first = await requested(hospital)
    await hears(hospital, answer_to(first))
    await hears(hospital, answer_to(first, DEVICES))
    await hospital.happens(study(at=5, images=2))
    before = await hospital.due(99)
    await hears(hospital, answer_to(first, DEVICES), at=6)
    assert await hospital.due(99) == before


async def test_of_what_nobody_is_told_no_service_is_late(hospital: Hospital) -> None:
    hospital.policy = Policy(deadline=timedelta(minutes=10), news=NewsSettings(age_limit_days=7))
    await hospital.happens(ORDER)
    taken = minutes(0).date() - timedelta(days=400)
    (first,) = await hospital.happens(study(at=1, taken=taken))
    await hospital.happens(study(at=5, images=2, taken=taken))
    await hears(hospital, answer_to(first, DEVICES), at=6)
    assert await hospital.due(99) == []


async def test_each_service_has_a_deadline_of_its_own(hospital: Hospital) -> None:
    first = await requested(hospital)
    await hears(hospital, answer_to(first, DEVICES))
    (request,) = await hospital.happens(study(at=5, images=2))
    assert len(await hospital.due(99)) == 3, "of the first request the usual one's, which nobody answered"
    await hears(hospital, answer_to(request))
    (late,) = await hospital.time_passes(99)
    assert (services([late]), reason(said(late))) == ([DEVICES], NotAnalysedReason.LATE)
    assert said(late).subject.sequence == said(request).subject.sequence + LATE


async def test_a_timer_that_fires_again_says_the_same(hospital: Hospital) -> None:
    first = await requested(hospital)
    await hears(hospital, answer_to(first, DEVICES))
    await hospital.happens(study(at=5, images=2))
    timers = await hospital.due(99)
    once = await hospital.time_passes(99)
    for timer in timers:
        await hospital.cases.put_due(timer)
    assert [out.value for out in await hospital.time_passes(99)] == [out.value for out in once]


@pytest.fixture
def awaiting(hospital: Hospital) -> Hospital:
    """A site that awaits the report of another service for every study."""
    hospital.policy = Policy(deadline=timedelta(minutes=10), services=(DEVICES,))
    return hospital


async def test_a_service_that_is_awaited_is_late_though_it_never_spoke(awaiting: Hospital) -> None:
    await requested(awaiting)
    assert sorted(services(await awaiting.time_passes(11))) == sorted([USUAL, DEVICES])


async def test_and_in_time_it_is_not(awaiting: Hospital) -> None:
    request = await requested(awaiting)
    await hears(awaiting, answer_to(request, DEVICES))
    assert services(await awaiting.time_passes(11)) == [USUAL]


async def test_what_is_not_analysed_is_told_in_the_report_of_a_service_that_is_awaited(awaiting: Hospital) -> None:
    await awaiting.happens(ORDER)
    outs = await awaiting.happens(study(at=1, images=0))
    assert services(outs) == [USUAL, DEVICES]
    awaiting.policy = Policy()  # no longer awaited: its report of this study is there, and goes on
    assert services(await awaiting.happens(CANCELLED)) == [USUAL, DEVICES]
