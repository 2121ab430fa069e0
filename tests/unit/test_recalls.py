"""A version of a model is recalled: all that it said is withdrawn, what it says from then on too, and nothing that has been
told since is overtaken."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.events import OrderStatus, ReportSigned
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, ModelIdentity, NotAnalysedReason
from schemas.model_events import ModelPromoted
from schemas.ports import Outgoing
from streams.case_state import Policy
from streams.emission import emit
from streams.promotion.acts import promotion
from streams.recalls import RECALL, recall_goes_on
from streams.sequences import LATE, RECALLED
from streams.study_settings import NewsSettings
from streams.topics import MODELS
from tests.contract.example_findings import DEVICES, MODEL, subject, two_findings
from tests.unit.answers import ORDER, answer_to, record, requested, result
from tests.unit.cases import Hospital, minutes, order, reason, recall, report, said, study
from tests.unit.receiver import Receiver

RECALL_IT = recall(MODEL.name, MODEL.version, at=9)
NEXT_MODEL = ModelIdentity(name=MODEL.name, version="2", weights_sha256="b" * 64)
USUAL = CHEST_RADIOGRAPH_FINDINGS


@pytest.fixture
def policy() -> Policy:
    return Policy(deadline=timedelta(minutes=10))


async def hears(hospital: Hospital, findings: Findings, at: float = 3) -> list[Outgoing]:
    return [out for out in await hospital.reads(record(result(findings), at=at)) if out.topic == "ai.results"]


async def withdrawn(hospital: Hospital) -> list[Outgoing]:
    """By the recall, and the pages that follow."""
    assert await hospital.happens(RECALL_IT) == []
    outs: list[Outgoing] = []
    while timers := [due for due in await hospital.due(9) if due.reason == RECALL]:
        for due in timers:
            outs += await recall_goes_on(due, minutes(9), cases=hospital.cases)
            await hospital.cases.remove_due(due.id)
    return outs


async def test_what_it_said_is_withdrawn(hospital: Hospital) -> None:
    request = await requested(hospital)
    answer = answer_to(request)
    assert await hears(hospital, answer) == []
    (out,) = await withdrawn(hospital)
    word = said(out)
    assert isinstance(word, Findings)
    assert reason(word) is NotAnalysedReason.MODEL_RECALLED
    assert word.subject.sequence == answer.subject.sequence + RECALLED
    assert word.subject.triggered_at == minutes(9)
    assert (word.service, word.subject.orders, word.subject.patient) == (USUAL, answer.subject.orders, answer.subject.patient)
    assert word.not_analysed is not None
    assert MODEL.name in word.not_analysed.explanation
    assert "heart" not in word.not_analysed.explanation, "what a person wrote"
    assert [one.value for one in await withdrawn(hospital)] == [out.value], "read again"
    assert await hospital.reads(record(out)) == [], "our own word is no news"
    receiver = Receiver(hospital)
    await receiver.hears(result(answer), out, result(answer))
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)


async def test_what_it_says_later_is_withdrawn_at_once(hospital: Hospital) -> None:
    """It stood on the log, or a worker had not heard yet."""
    request = await requested(hospital)
    await withdrawn(hospital)
    first, again = [await hears(hospital, answer_to(request), at=at) for at in (10, 99)]
    assert [reason(said(out)) for out in first] == [NotAnalysedReason.MODEL_RECALLED]
    assert [out.value for out in again] == [out.value for out in first]
    assert await hospital.time_passes(999) == [], "an answer came in time"


async def test_the_order_in_which_both_are_read_makes_no_difference(hospital: Hospital) -> None:
    request = await requested(hospital)
    before = await hears(hospital, answer_to(request))
    (by_recall,) = await withdrawn(hospital)
    (by_hearing,) = await hears(hospital, answer_to(request))
    assert (before, by_hearing) == ([], by_recall), "the same to the last header"


async def test_every_service_speaks_for_itself(hospital: Hospital) -> None:
    request = await requested(hospital)
    other = answer_to(request, DEVICES).model_copy(update={"model": NEXT_MODEL})
    for answer in (answer_to(request), answer_to(request, "bones"), other):
        await hears(hospital, answer)
    outs = [said(out) for out in await withdrawn(hospital)]
    assert [one.service for one in outs if isinstance(one, Findings)] == ["bones", USUAL]


async def test_a_marked_answer_is_withdrawn_and_none_is_marked_after(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hospital.happens(report(ReportSigned, accession="A1", at=2))
    answer = answer_to(request)
    (marked,) = await hears(hospital, answer)
    (out,) = await withdrawn(hospital)
    assert said(marked).subject.sequence < said(out).subject.sequence
    assert [one.value for one in await hears(hospital, answer)] == [out.value]
    assert await hospital.happens(report(ReportSigned, accession="A1", at=2)) == []
    receiver = Receiver(hospital)
    await receiver.hears(out, marked, result(answer))
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)


async def test_nothing_that_was_told_since_is_overtaken(hospital: Hospital) -> None:
    first = await requested(hospital)
    await hears(hospital, answer_to(first))
    (second,) = await hospital.happens(study(at=5, images=2))
    (out,) = await withdrawn(hospital)
    assert said(out).subject.sequence < said(second).subject.sequence + LATE
    answer = answer_to(second).model_copy(update={"model": NEXT_MODEL})
    assert await hears(hospital, answer) == []
    receiver = Receiver(hospital)
    await receiver.hears(result(answer_to(first)), result(answer), out)
    assert (receiver.report["status"], receiver.live) == ("partial", 3)


@pytest.mark.parametrize("by_another_model", [True, False])
async def test_what_was_replaced_is_withdrawn_below_what_replaced_it(hospital: Hospital, by_another_model: bool) -> None:
    """A receiver may have refused what did, and show it still."""
    first = await requested(hospital)
    await hears(hospital, answer_to(first))
    if by_another_model:
        (second,) = await hospital.happens(study(at=5, images=2))
        await hears(hospital, answer_to(second).model_copy(update={"model": NEXT_MODEL}))
    else:
        (second,) = await hospital.happens(order(placer="P1", accession="A1", at=5, status=OrderStatus.CANCELLED))
        await hospital.reads(record(second))
    (out,) = await withdrawn(hospital)
    assert said(out).subject.sequence == said(first).subject.sequence + RECALLED < said(second).subject.sequence + LATE


async def test_all_its_answers_are_withdrawn(hospital: Hospital) -> None:
    """The last may have been refused by a receiver that still shows the first."""
    first = await requested(hospital)
    await hears(hospital, answer_to(first))
    (second,) = await hospital.happens(study(at=5, images=2))
    await hears(hospital, answer_to(second), at=6)
    numbers = [said(one).subject.sequence + RECALLED for one in (first, second)]
    assert [said(out).subject.sequence for out in await withdrawn(hospital)] == numbers


async def test_states_that_were_numbered_without_room(hospital: Hospital) -> None:
    """The withdrawal of the first would have a number above that of the second, which another model said."""
    first, second = (two_findings(subject(number)) for number in (1, 2))
    await hears(hospital, first)
    await hears(hospital, second.model_copy(update={"model": NEXT_MODEL}))
    assert await withdrawn(hospital) == []


async def test_what_is_told_to_nobody_is_withdrawn_too(hospital: Hospital) -> None:
    hospital.policy = Policy(news=NewsSettings(bulk_ae_titles=("PRIORS",)))
    await hospital.happens(ORDER)
    (request,) = await hospital.happens(study(at=1, sent_by="PRIORS"))
    await hears(hospital, answer_to(request))
    (out,) = await withdrawn(hospital)
    assert not said(out).subject.outward


async def test_another_version_is_not_recalled(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hears(hospital, answer_to(request).model_copy(update={"model": NEXT_MODEL}))
    assert await withdrawn(hospital) == []


async def test_a_second_recall_says_what_the_first_did(hospital: Hospital) -> None:
    request = await requested(hospital)
    await hears(hospital, answer_to(request))
    first = await withdrawn(hospital)
    await hospital.happens(recall(MODEL.name, MODEL.version, at=50))
    assert [out.value for out in await hospital.time_passes(50)] == [out.value for out in first]


async def test_thousands_are_withdrawn_page_by_page(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    studies = [f"1.2.{number}" for number in range(30, 38)]
    for uid in studies:
        (request,) = await hospital.happens(study(uid, at=1))
        await hears(hospital, answer_to(request))
    assert await hospital.happens(RECALL_IT) == []
    pages = []
    while timers := [due for due in await hospital.due(9) if due.reason == RECALL]:
        (due,) = timers
        crashed, page = [await recall_goes_on(due, minutes(9), cases=hospital.cases, page=3) for _ in range(2)]
        assert crashed == page
        pages.append(page)
        await hospital.cases.remove_due(due.id)
    assert [len(page) for page in pages] == [3, 3, 2]
    assert sorted(said(out).subject.study_instance_uid for page in pages for out in page) == studies


async def test_other_acts_about_models_are_passed_over(hospital: Hospital) -> None:
    promoted = promotion(MODEL, USUAL, approved_by="Dr B", reason="better", at=minutes(1))
    assert isinstance(promoted, ModelPromoted)
    assert await hospital.reads(record(emit(MODELS, MODEL.name, promoted, None))) == []
    gone = Outgoing(MODELS.name, b"worker.w", b"")
    assert await hospital.reads(record(gone)) == []
