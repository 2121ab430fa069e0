"""Correlation on the real default store: who is joined with whom, and what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import OrderStatus, Priority
from schemas.findings import NotAnalysedReason
from schemas.identifiers import AccessionNumber, PatientIdentifier
from schemas.study_events import AnalysisRequested
from streams.case_state import Policy
from streams.steps.correlate import correlate, order_wait_over
from tests.unit.cases import JANE, JOHN, Hospital, gone, minutes, numbers, order, reason, record_of, said, study


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield Hospital(store)
    await store.close()


# ------------------------------------------------------------------------------------------------------ order and study


async def test_order_first(hospital: Hospital) -> None:
    assert await hospital.happens(order(placer="P1", accession="A1")) == []  # nothing to tell yet
    (out,) = await hospital.happens(study(at=1, images=2))
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert (out.topic, out.key) == ("ai.requests", b"1.2.3")
    assert numbers(request) == ["P1 - A1"]
    assert request.subject.sequence == 1
    assert request.subject.patient == JANE
    assert request.subject.triggered_at == request.time == minutes(1)
    assert request.subject.accession_number == study().accession_number
    assert request.images == study(images=2).images
    assert dict(out.headers)["ce_id"] == str(request.id).encode()
    assert dict(out.headers)["cause"] == b"imaging.studies/0/2"
    assert await hospital.due(9) == []


async def test_study_first(hospital: Hospital) -> None:
    assert await hospital.happens(study()) == []
    (timer,) = await hospital.due(1)
    assert (timer.reason, timer.case, timer.not_before) == ("order-awaited", "1.2.3", minutes(1))
    request = await hospital.answer(order(placer="P1", accession="A1", at=0.5))
    assert numbers(request) == ["P1 - A1"]
    assert request.subject.triggered_at == minutes(0.5)
    assert await hospital.due(9) == []


async def test_the_same_again_says_the_same_bytes(hospital: Hospital) -> None:
    events = [order(placer="P1", accession="A1"), study(at=1)]
    await hospital.happens(events[0])
    (first,) = await hospital.happens(events[1])
    for event in events * 3:
        (again,) = await hospital.happens(event)
        assert (again.topic, again.key, again.value) == (first.topic, first.key, first.value)
        assert dict(again.headers)["ce_id"] == dict(first.headers)["ce_id"]


async def test_processing_one_record_twice_gives_the_same_record(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    record = record_of(study(), 7)
    once, twice = [await correlate(record, cases=hospital.cases, policy=hospital.policy) for _ in range(2)]
    assert once == twice
    assert len(once) == 1


async def test_one_study_two_orders(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P2", accession="A1"))
    await hospital.happens(study())
    request = await hospital.answer(order(placer="P1", accession="A1", at=2))
    assert numbers(request) == ["P1 - A1", "P2 - A1"]
    assert request.subject.sequence == 2


async def test_one_order_two_studies(hospital: Hospital) -> None:
    await hospital.happens(study("1.2.3"))
    await hospital.happens(study("1.2.4"))
    requests = await hospital.answers(order(placer="P1", accession="A1", at=1))
    assert [request.subject.study_instance_uid for request in requests] == ["1.2.3", "1.2.4"]
    third = await hospital.answer(study("1.2.5", at=2))
    assert numbers(third) == ["P1 - A1"]
    assert len({request.subject.sequence for request in [*requests, third]}) == 1


async def test_other_accession_numbers_and_other_assigners_are_strangers(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A2"))
    foreign = order(placer="P2", accession="A1")
    assert foreign.accession_number is not None
    number = foreign.accession_number.model_copy(update={"assigner": "OTHER"})
    await hospital.happens(foreign.model_copy(update={"accession_number": number}))
    assert await hospital.happens(study()) == []


# --------------------------------------------------------------------------------------------- numbers that come later


async def test_an_order_held_under_its_placer_number_is_linked_when_the_filler_answers(hospital: Hospital) -> None:
    assert await hospital.happens(order(placer="P1")) == []
    assert await hospital.happens(study(at=0.1)) == []
    request = await hospital.answer(order(placer="P1", filler="F1", accession="A1", at=0.2, sender="RIS", patients=()))
    assert numbers(request) == ["P1 F1 A1"]
    assert request.subject.patient == JANE


async def test_linked_over_two_steps(hospital: Hospital) -> None:
    """The one who knows the accession number never heard of the placer's number."""
    await hospital.happens(order(placer="P1"))
    await hospital.happens(order(filler="F1", accession="A1", sender="RIS", at=1))
    first = await hospital.answer(study())
    assert numbers(first) == ["- F1 A1"]
    linked = await hospital.answer(order(placer="P1", filler="F1", at=2, sender="RIS"))
    assert numbers(linked) == ["P1 F1 A1"]
    cancelled = await hospital.answer(order(placer="P1", at=3, status=OrderStatus.CANCELLED))
    assert reason(cancelled) is NotAnalysedReason.ORDER_CANCELLED


async def test_an_update_without_the_accession_number_keeps_it(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    again = await hospital.answer(order(placer="P1", at=2, status=OrderStatus.IN_PROGRESS))
    assert again == first


async def test_one_placer_number_for_two_procedures(hospital: Hospital) -> None:
    """Two filler numbers under one placer number are two orders; a word on the placer number is a word on both."""
    await hospital.happens(order(placer="P1", filler="F1", accession="A1"))
    await hospital.happens(order(placer="P1", filler="F2", accession="A2", at=1))
    first, second = await hospital.answer(study("1.2.3")), await hospital.answer(study("1.2.4", accession="A2"))
    assert numbers(first) == ["P1 F1 A1"]
    assert numbers(second) == ["P1 F2 A2"]
    both = await hospital.answers(order(placer="P1", at=2, status=OrderStatus.CANCELLED))
    assert [reason(one) for one in both] == [NotAnalysedReason.ORDER_CANCELLED] * 2


async def test_an_order_without_any_number(hospital: Hospital) -> None:
    with pytest.raises(MissingIdentifier):
        await hospital.happens(order())


# ------------------------------------------------------------------------------------------------------- no order comes


async def test_the_order_never_comes(hospital: Hospital) -> None:
    await hospital.happens(study())
    assert await hospital.time_passes(0.9) == []
    (out,) = await hospital.time_passes(1)
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert request.subject.orders == ()
    assert request.subject.patient == JANE
    assert request.subject.triggered_at == minutes(1)
    assert await hospital.due(99) == []
    assert await hospital.happens(study()) == []  # redelivered: the timer has told it, and no new wait
    assert await hospital.due(99) == []


async def test_an_order_after_the_wait_issues_the_study_again(hospital: Hospital) -> None:
    await hospital.happens(study())
    (out,) = await hospital.time_passes(1)
    late = await hospital.answer(order(placer="P1", accession="A1", at=5))
    assert numbers(late) == ["P1 - A1"]
    assert late.subject.sequence == 2
    assert isinstance(late, AnalysisRequested)
    assert str(late.id).encode() != dict(out.headers)["ce_id"]


async def test_no_accession_number_waits_and_goes_on_as_dicom_says(hospital: Hospital) -> None:
    assert await hospital.happens(study(accession=None)) == []
    (out,) = await hospital.time_passes(1)
    assert said(out).subject.accession_number is None
    assert said(out).subject.patient == JANE
    corrected = await hospital.happens(study(accession="A1", at=3))
    assert corrected == []  # now it can have an order: waits for it
    request = await hospital.answer(order(placer="P1", accession="A1", at=3.5))
    assert request.subject.sequence == 2


async def test_without_order_refused(hospital: Hospital) -> None:
    hospital.policy = Policy(without_order="refuse")
    await hospital.happens(study())
    (out,) = await hospital.time_passes(1)
    assert out.topic == "ai.results"
    assert reason(said(out)) is NotAnalysedReason.NO_ORDER
    assert dict(out.headers)["ce_type"] == b"org.radstream.findings.v1"
    assert reason(await hospital.answer(order(placer="P1", accession="A1", at=2))) is None


async def test_a_crash_after_the_timer_told_and_before_it_was_written(hospital: Hospital) -> None:
    await hospital.happens(study())
    (timer,) = await hospital.due(1)
    first = await hospital.time_passes(1)
    await hospital.cases.put_due(timer)  # never removed
    assert await hospital.time_passes(2) == first


async def test_a_timer_that_fires_stays_until_its_outputs_are_written(hospital: Hospital) -> None:
    await hospital.happens(study())
    (timer,) = await hospital.due(1)
    await order_wait_over(timer, cases=hospital.cases, policy=hospital.policy)
    assert await hospital.due(1) == [timer]


async def test_a_timer_of_an_older_event_does_not_end_the_wait_of_a_newer(hospital: Hospital) -> None:
    await hospital.happens(study())
    await hospital.happens(study(at=0.5, images=2))
    assert await hospital.time_passes(1) == []
    (out,) = await hospital.time_passes(1.5)
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert len(request.images) == 2
    assert request.subject.sequence == 1


async def test_the_order_ends_the_wait_of_every_event_of_its_study(hospital: Hospital) -> None:
    await hospital.happens(study())
    await hospital.happens(study(at=0.5, images=2))
    assert len(await hospital.due(99)) == 2
    await hospital.answer(order(placer="P1", accession="A1", at=0.7))
    assert await hospital.due(99) == []


async def test_a_longer_wait_set_meanwhile_loses_no_study(hospital: Hospital) -> None:
    await hospital.happens(study())
    hospital.policy = Policy(order_wait=Policy().order_wait * 5)
    assert await hospital.time_passes(1) == []
    assert len(await hospital.time_passes(5)) == 1


# ------------------------------------------------------------------------------------------------ what changes the state


async def test_one_more_image_is_a_new_state(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    second = await hospital.answer(study(at=2, images=2))
    assert isinstance(second, AnalysisRequested)
    assert second.subject.sequence == 2
    assert second.subject.revision != first.subject.revision
    assert await hospital.happens(study()) == []  # the older event again: the state stays
    assert await hospital.answer(study(at=2, images=2)) == second


async def test_an_image_that_goes_away_again_is_a_state_of_its_own(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    await hospital.answer(study(at=1, images=2))
    third = await hospital.answer(study(at=2))
    assert third.subject.sequence == 3
    assert third.subject.revision == first.subject.revision
    assert third.model_dump_json() != first.model_dump_json()
    assert isinstance(first, AnalysisRequested)
    assert isinstance(third, AnalysisRequested)
    assert third.id != first.id


async def test_a_study_that_is_gone_is_withdrawn_where_it_was_told(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    request = await hospital.answer(study(at=1))
    withdrawn = await hospital.answer(gone(at=2))
    assert reason(withdrawn) is NotAnalysedReason.NO_IMAGE
    assert withdrawn.subject.sequence == request.subject.sequence + 1
    for name in ("accession_number", "patient", "orders"):
        assert getattr(withdrawn.subject, name) == getattr(request.subject, name)
    # an order that still speaks of it finds it gone
    assert await hospital.answer(order(placer="P1", accession="A1", at=3)) == withdrawn
    back = await hospital.answer(study(at=4))
    assert isinstance(back, AnalysisRequested)
    assert back.subject.sequence == 3


async def test_nobody_hears_of_a_study_that_came_and_went(hospital: Hospital) -> None:
    assert await hospital.happens(gone()) == []
    assert await hospital.happens(study(at=1)) == []  # waits for its order
    assert await hospital.happens(gone(at=1.5)) == []
    assert await hospital.time_passes(9) == []
    assert await hospital.happens(order(placer="P1", accession="A1", at=10)) == []


async def test_a_study_without_an_order_is_withdrawn_at_once(hospital: Hospital) -> None:
    await hospital.happens(study())
    (told,) = await hospital.time_passes(2)
    withdrawn = await hospital.answer(gone(at=3))
    assert reason(withdrawn) is NotAnalysedReason.NO_IMAGE
    assert withdrawn.subject.patient == said(told).subject.patient == JANE


async def test_clocks_of_two_sources_are_not_compared(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    ahead = study(at=60, source="webhook")
    await hospital.happens(ahead)
    second = await hospital.answer(study(at=2, images=2))
    assert isinstance(second, AnalysisRequested)
    assert len(second.images) == 2
    assert await hospital.happens(ahead) == []
    assert await hospital.answer(study(at=2, images=2)) == second


async def test_several_sources_for_one_study_give_one_request(hospital: Hospital) -> None:
    """Each request on the log is an analysis; the one who made the state tells it again, should it have been lost (rule 2)."""
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    assert await hospital.happens(study(at=1, source="qido")) == []
    assert await hospital.happens(study(at=2)) == []
    assert await hospital.answer(study()) == first
    assert await hospital.answer(order(placer="P1", accession="A1")) == first


async def test_two_sources_wait_for_the_same_order(hospital: Hospital) -> None:
    assert await hospital.happens(study()) == []
    assert await hospital.happens(study(at=0.5, source="qido")) == []
    (out,) = await hospital.time_passes(1.5)  # the wait of the newest
    assert await hospital.happens(study(at=3, source="qido")) == []
    late = await hospital.answer(order(placer="P1", accession="A1", at=5))
    assert late.subject.sequence == said(out).subject.sequence + 1
    assert await hospital.due(99) == []


async def test_a_corrected_accession_number_moves_the_study(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(order(placer="P2", accession="A2"))
    assert numbers(await hospital.answer(study())) == ["P1 - A1"]
    moved = await hospital.answer(study(accession="A2", at=1))
    assert numbers(moved) == ["P2 - A2"]
    assert await hospital.happens(order(placer="P1", accession="A1", at=2, status=OrderStatus.CANCELLED)) == []


async def test_a_status_message_changes_nothing(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", priority=Priority.STAT))
    first = await hospital.answer(study())
    for at, status in enumerate((OrderStatus.ON_HOLD, OrderStatus.IN_PROGRESS, OrderStatus.COMPLETED), 1):
        (out,) = await hospital.happens(order(placer="P1", accession="A1", at=at, status=status))
        assert said(out) == first
        assert out.topic == "ai.requests.stat"


async def test_stat_goes_on_its_own_topic_also_when_it_becomes_so_later(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(study())
    (out,) = await hospital.happens(order(placer="P1", accession="A1", at=1, priority=Priority.STAT))
    assert out.topic == "ai.requests.stat"
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert (request.priority, request.subject.sequence) == (Priority.STAT, 2)


# ------------------------------------------------------------------------------------------------------------- cancelled


async def test_cancelled_before_and_after_the_study(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(study())
    (out,) = await hospital.happens(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED))
    told = said(out)
    assert (out.topic, out.key, reason(told)) == ("ai.results", b"1.2.3", NotAnalysedReason.ORDER_CANCELLED)
    assert numbers(told) == ["P1 - A1"]
    assert told.subject.patient == JANE
    assert reason(await hospital.answer(study("1.2.4"))) is NotAnalysedReason.ORDER_CANCELLED
    again = await hospital.answers(order(placer="P1", accession="A1", at=2))
    assert [(reason(one), one.subject.sequence) for one in again] == [(None, 3), (None, 2)]


async def test_a_cancelled_order_of_another_patient_writes_into_nobodys_record(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=(JOHN,)))
    assert reason(await hospital.answer(study(patient=JANE))) is NotAnalysedReason.IDENTITY_MISMATCH
    told = await hospital.answer(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED, patients=(JOHN,)))
    assert reason(told) is NotAnalysedReason.ORDER_CANCELLED
    assert told.subject.patient is None


async def test_one_of_two_orders_cancelled(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(order(placer="P2", accession="A1"))
    await hospital.happens(study())
    request = await hospital.answer(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED))
    assert isinstance(request, AnalysisRequested)
    assert numbers(request) == ["P2 - A1"]


async def test_an_older_message_of_a_sender_never_overwrites_a_newer(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", at=5, status=OrderStatus.CANCELLED))
    await hospital.happens(order(placer="P1", accession="A1", at=1, patients=(JOHN,)))
    told = await hospital.answer(study())
    assert reason(told) is NotAnalysedReason.ORDER_CANCELLED
    assert told.subject.patient == JANE


async def test_equal_times_are_told_apart_by_msh_13_then_by_arrival(hospital: Hospital) -> None:
    cancel = order(placer="P1", accession="A1", status=OrderStatus.CANCELLED, sequence_number=8)
    await hospital.happens(cancel)
    await hospital.happens(order(placer="P1", accession="A1", sequence_number=7))
    assert reason(await hospital.answer(study())) is NotAnalysedReason.ORDER_CANCELLED
    placed = order(placer="P2", accession="A2")
    await hospital.happens(placed)
    await hospital.happens(order(placer="P2", accession="A2", status=OrderStatus.CANCELLED))
    await hospital.happens(placed)  # a redelivery is no new arrival
    assert reason(await hospital.answer(study("1.2.4", accession="A2"))) is NotAnalysedReason.ORDER_CANCELLED


async def test_another_sender_with_a_slow_clock_does_not_bring_a_cancelled_order_back(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED))
    await hospital.happens(order(placer="P1", accession="A1", at=9, sender="RIS", status=OrderStatus.IN_PROGRESS))
    assert reason(await hospital.answer(study())) is NotAnalysedReason.ORDER_CANCELLED


# --------------------------------------------------------------------------------------------------------------- patient


@pytest.mark.parametrize(
    ("of_order", "of_study", "agree"),
    [
        ((JANE,), JANE, True),
        ((JOHN, JANE), JANE, True),
        ((JOHN,), JANE, False),
        ((PatientIdentifier(value=JANE.value, assigner="OTHER"),), JANE, False),
        ((), JANE, True),
        ((JANE,), None, True),
        ((), None, True),
    ],
)
async def test_patient(
    hospital: Hospital, of_order: tuple[PatientIdentifier, ...], of_study: PatientIdentifier | None, agree: bool
) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=of_order))
    told = await hospital.answer(study(patient=of_study))
    assert reason(told) is (None if agree else NotAnalysedReason.IDENTITY_MISMATCH)
    expected = (of_study or next(iter(of_order), None)) if agree else None  # the one they share
    assert told.subject.patient == expected


async def test_two_orders_of_two_patients(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=(JANE,)))
    await hospital.happens(order(placer="P2", accession="A1", patients=(JOHN,)))
    assert reason(await hospital.answer(study(patient=None))) is NotAnalysedReason.IDENTITY_MISMATCH
    corrected = await hospital.answer(order(placer="P2", accession="A1", at=1, patients=(JANE,)))
    assert reason(corrected) is None
    assert corrected.subject.sequence == 2


async def test_no_eligible_image(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    told = await hospital.answer(study(images=0))
    assert reason(told) is NotAnalysedReason.NO_IMAGE
    assert numbers(told) == ["P1 - A1"]


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"value": b"{"}, MalformedMessage),
        ({"value": b'{"accession_number": "DOE^JANE"}'}, MalformedMessage),
        ({"headers": ()}, UnsupportedMessage),
        ({"headers": (("ce_type", b"org.radstream.order.placed.v9"),)}, UnsupportedMessage),
        ({"headers": (("ce_type", b"org.radstream.study.completed.v1"),)}, UnsupportedMessage),
    ],
)
async def test_bad_records(hospital: Hospital, change: dict[str, Any], error: type[Exception]) -> None:
    record = replace(record_of(order(placer="P1")), **change)
    with pytest.raises(error) as caught:
        await correlate(record, cases=hospital.cases, policy=hospital.policy)
    assert "DOE" not in str(caught.value)


async def test_numbers_with_a_caret_are_not_mistaken_for_each_other(hospital: Hospital) -> None:
    """Both are A^B^C when written in one line."""
    one = AccessionNumber(value="A^B", assigner="C")
    other = AccessionNumber(value="A", assigner="B^C")
    await hospital.happens(order(placer="P1").model_copy(update={"accession_number": one}))
    assert await hospital.happens(study().model_copy(update={"accession_number": other})) == []
    assert len(await hospital.happens(study("1.2.4").model_copy(update={"accession_number": one}))) == 1
