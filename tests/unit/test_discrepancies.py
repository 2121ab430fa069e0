"""The AI found something after a radiologist had verified: a discrepancy, until a person looks at it or the answer is withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from schemas.discrepancies import (
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.errors import MalformedMessage
from schemas.events import OrderStatus, Priority, ReportSigned
from schemas.findings import Findings, ModelIdentity, NotAnalysed, NotAnalysedReason
from schemas.ports import Outgoing
from streams.case_state import Policy
from streams.discrepancies import ESCALATION, not_acknowledged_in_time
from streams.late import DEADLINE
from tests.contract.example_findings import DEVICES, MODEL
from tests.unit.answers import answer_to, record, requested, result
from tests.unit.cases import CaseEvent, Hospital, gone, minutes, order, recall, record_of, report, said, study
from tests.unit.discrepancies import acknowledgement, discrepancies

SIGNED = report(ReportSigned, accession="A1", at=2, occurred=1.5)
STAT = order(placer="P1", accession="A1", at=4, priority=Priority.STAT)
CANCELLED = order(placer="P1", accession="A1", at=5, status=OrderStatus.CANCELLED)
PLACED_AGAIN = order(placer="P1", accession="A1", at=6)


@pytest.fixture
def policy() -> Policy:
    return Policy(escalate_after=timedelta(minutes=30))


async def hears(hospital: Hospital, findings: Findings, at: float = 3) -> list[DiscrepancyEvent]:
    return discrepancies(await hospital.reads(record(result(findings), at=at)))


async def reads_all(hospital: Hospital, outs: Sequence[Outgoing], at: float = 9) -> list[DiscrepancyEvent]:
    """`correlate` reads what it said itself."""
    return discrepancies([new for out in outs if out.topic == "ai.results" for new in await hospital.reads(record(out, at=at))])


async def signed_and_answered(hospital: Hospital) -> tuple[Outgoing, DiscrepancyOpened]:
    request = await requested(hospital)
    await hospital.happens(SIGNED)
    (event,) = await hears(hospital, answer_to(request))
    assert isinstance(event, DiscrepancyOpened)
    return request, event


async def test_findings_after_verification_open_one(hospital: Hospital) -> None:
    request, event = await signed_and_answered(hospital)
    answer = answer_to(request)
    assert (event.study_instance_uid, event.service, event.analysis_id) == ("1.2.3", answer.service, answer.analysis_id)
    assert event.accession_number == answer.subject.accession_number
    assert (event.sequence, event.verified_at) == (answer.subject.sequence + 1, minutes(1.5))
    assert (event.time, event.escalate_at) == (minutes(3), minutes(33))
    hospital.policy = Policy(escalate_after=timedelta(minutes=99))
    assert await hears(hospital, answer, at=50) == [event], "read again, it is the same, whatever the settings say now"


async def test_also_when_the_answer_was_read_before_the_report(hospital: Hospital) -> None:
    request = await requested(hospital)
    assert await hears(hospital, answer_to(request)) == []
    first, again = [discrepancies(await hospital.happens(SIGNED)) for _ in range(2)]
    assert [type(event) for event in first] == [DiscrepancyOpened]
    assert again == first


async def test_nothing_found_opens_none(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hospital.happens(SIGNED)
    assert await hears(hospital, answer_to(request).model_copy(update={"findings": ()})) == []
    assert await hears(hospital, answer_to(request, DEVICES)) == [], "lines and devices are no findings that he overlooked"


async def test_before_verification_none_is_opened(hospital: Hospital) -> None:
    request = await requested(hospital)
    assert await hears(hospital, answer_to(request), at=1.9) == []
    assert discrepancies(await hospital.happens(SIGNED)) == []


async def test_the_same_again_for_another_order_rings_once(hospital: Hospital) -> None:
    await signed_and_answered(hospital)
    (second,) = await hospital.happens(STAT)
    outs = await hospital.reads(record(result(answer_to(second)), at=5))
    assert [out.topic for out in outs] == ["ai.results"], "marked, and that is all"


async def test_nor_does_what_had_been_told_before_he_verified(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hears(hospital, answer_to(request), at=1.9)
    await hospital.happens(SIGNED)
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, answer_to(second), at=5) == []
    (third,) = await hospital.happens(order(placer="P2", accession="A1", at=6))
    assert await hears(hospital, answer_to(third), at=7) == []


async def test_but_what_was_withdrawn_when_he_verified_does(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hears(hospital, answer_to(request), at=1.2)
    await reads_all(hospital, await hospital.happens(order(placer="P1", accession="A1", at=1.4, status=OrderStatus.CANCELLED)))
    await hospital.happens(SIGNED)
    (second,) = await hospital.happens(PLACED_AGAIN)
    assert [type(event) for event in await hears(hospital, answer_to(second), at=7)] == [DiscrepancyOpened]


async def test_a_new_image_or_another_model_is_another_discrepancy_in_the_place_of_the_first(hospital: Hospital) -> None:
    _, first = await signed_and_answered(hospital)
    (second,) = await hospital.happens(study(at=4, images=2))
    withdrawn, opened = await hears(hospital, answer_to(second), at=5)
    assert (type(withdrawn), type(opened)) == (DiscrepancyWithdrawn, DiscrepancyOpened)
    assert (withdrawn.discrepancy_id, withdrawn.analysis_id) == (first.discrepancy_id, first.analysis_id)
    (third,) = await hospital.happens(order(placer="P2", accession="A1", at=6))
    better = answer_to(third).model_copy(update={"model": ModelIdentity(name="chest-nodule", version="2", weights_sha256="b" * 64)})
    withdrawn, opened_by_another = await hears(hospital, better, at=7)
    assert withdrawn.discrepancy_id == opened.discrepancy_id
    assert len({first.discrepancy_id, opened.discrepancy_id, opened_by_another.discrepancy_id}) == 3


async def test_an_answer_without_findings_withdraws_it(hospital: Hospital) -> None:
    _, first = await signed_and_answered(hospital)
    (second,) = await hospital.happens(study(at=4, images=2))
    absent = answer_to(second).model_copy(update={"findings": ()})
    once, again = [await hears(hospital, absent, at=at) for at in (5, 6)]
    assert [(type(event), event.discrepancy_id) for event in once] == [(DiscrepancyWithdrawn, first.discrepancy_id)]
    assert again == once


async def test_what_another_service_says_withdraws_nothing(hospital: Hospital) -> None:
    await signed_and_answered(hospital)
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, answer_to(second, DEVICES), at=5) == []


@pytest.mark.parametrize("event", [CANCELLED, gone(at=5), study(at=5, images=0)])
async def test_what_withdraws_the_answer_withdraws_it(hospital: Hospital, event: CaseEvent) -> None:
    request, first = await signed_and_answered(hospital)
    outs = await hospital.happens(event)
    once, again = [await reads_all(hospital, outs) for _ in range(2)]
    assert [(type(event), event.discrepancy_id) for event in once] == [(DiscrepancyWithdrawn, first.discrepancy_id)]
    assert again == once
    assert await hears(hospital, answer_to(request), at=20) == [], "and reading the answer again opens nothing"
    assert discrepancies(await hospital.time_passes(99)) == []


async def test_a_recall_withdraws_it(hospital: Hospital) -> None:
    request, first = await signed_and_answered(hospital)
    await hospital.happens(recall(MODEL.name, MODEL.version, at=9))
    events = await reads_all(hospital, await hospital.time_passes(9))
    assert [(type(event), event.discrepancy_id) for event in events] == [(DiscrepancyWithdrawn, first.discrepancy_id)]
    assert await hears(hospital, answer_to(request), at=20) == []
    (second,) = await hospital.happens(STAT)
    assert await hears(hospital, answer_to(second), at=21) == [], "nor does it open another"


async def test_late_withdraws_nothing(hospital: Hospital) -> None:
    hospital.policy = Policy(deadline=timedelta(minutes=1))
    await signed_and_answered(hospital)
    await hospital.happens(study(at=4, images=2))
    late = await hospital.time_passes(9)
    assert await reads_all(hospital, late) == []


async def test_what_was_withdrawn_and_holds_again_opens_again(hospital: Hospital) -> None:
    _, first = await signed_and_answered(hospital)
    await reads_all(hospital, await hospital.happens(CANCELLED))
    (second,) = await hospital.happens(PLACED_AGAIN)
    (event,) = await hears(hospital, answer_to(second), at=7)
    assert isinstance(event, DiscrepancyOpened)
    assert event.discrepancy_id == first.discrepancy_id
    assert (event.id != first.id, event.sequence > first.sequence) == (True, True)
    (escalated,) = discrepancies(await hospital.time_passes(99))
    assert escalated.analysis_id == event.analysis_id, "the timer of the first says nothing"


async def test_nobody_acknowledges_it_in_time(hospital: Hospital) -> None:
    _, first = await signed_and_answered(hospital)
    assert discrepancies(await hospital.time_passes(32.9)) == []
    (timer,) = [due for due in await hospital.due(33) if due.reason == ESCALATION]
    once, again = [await not_acknowledged_in_time(timer, minutes(at), cases=hospital.cases) for at in (33, 40)]
    assert once == again
    (event,) = discrepancies(once)
    assert isinstance(event, DiscrepancyEscalated)
    assert (event.discrepancy_id, event.time, event.analysis_id) == (first.discrepancy_id, minutes(33), first.analysis_id)


async def test_without_a_time_nobody_is_called(hospital: Hospital) -> None:
    hospital.policy = Policy()
    _, first = await signed_and_answered(hospital)
    assert first.escalate_at is None
    assert await hospital.due(99_999) == []


async def test_acknowledged_is_acknowledged(hospital: Hospital) -> None:
    request, first = await signed_and_answered(hospital)
    for _ in range(2):
        assert await hospital.happens(acknowledgement(first)) == []
    assert discrepancies(await hospital.time_passes(99)) == []
    assert await hears(hospital, answer_to(request), at=50) == []
    outs = await hospital.happens(CANCELLED)
    assert await reads_all(hospital, outs) == [], "it is closed already"
    (second,) = await hospital.happens(PLACED_AGAIN)
    assert await hears(hospital, answer_to(second), at=60) == [], "the same, and a person has looked at it"


async def test_an_acknowledgement_that_is_read_before_what_it_acknowledges(hospital: Hospital) -> None:
    """Where the tables are built anew from the topics."""
    request, first = await signed_and_answered(hospital)
    async with hospital.cases.correlation() as rows:
        (kept,) = await rows.discrepancies_of(first.study_instance_uid)
    assert not kept.acknowledged
    await hospital.happens(acknowledgement(first))
    assert await hears(hospital, answer_to(request)) == []


async def test_its_own_words_are_no_news_and_what_is_no_word_is_refused(hospital: Hospital) -> None:
    _, first = await signed_and_answered(hospital)
    own = record_of(acknowledgement(first))
    as_opened = tuple((name, DiscrepancyOpened.TYPE.encode() if name == "ce_type" else value) for name, value in own.headers)
    assert await hospital.reads(type(own)(own.place, own.key, own.value, as_opened, own.timestamp)) == []
    with pytest.raises(MalformedMessage) as caught:
        await hospital.reads(type(own)(own.place, own.key, b'{"reason": "DOE"}', own.headers, own.timestamp))
    assert "DOE" not in str(caught.value)


async def test_a_refusal_of_the_model_withdraws_it(hospital: Hospital) -> None:
    await signed_and_answered(hospital)
    (second,) = await hospital.happens(study(at=4, images=2))
    why = NotAnalysed(reason=NotAnalysedReason.WRONG_VIEW, explanation="lateral")
    refused = Findings(analysis_id=answer_to(second).analysis_id, subject=said(second).subject, not_analysed=why)
    assert [type(event) for event in await hears(hospital, refused)] == [DiscrepancyWithdrawn]
    assert DEADLINE not in {due.reason for due in await hospital.due(999)}
