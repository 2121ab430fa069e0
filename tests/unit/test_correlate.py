"""Correlation on the real default store: who is joined with whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import OrderStatus
from schemas.findings import NotAnalysedReason
from schemas.identifiers import AccessionNumber
from schemas.study_events import AnalysisRequested
from streams.steps.correlate import correlate
from tests.unit.cases import JANE, Hospital, follows, minutes, numbers, order, reason, record_of, said, study


async def test_order_first(hospital: Hospital) -> None:
    assert await hospital.happens(order(placer="P1", accession="A1")) == []  # nothing to tell yet
    (out,) = await hospital.happens(study(at=1, images=2))
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert (out.topic, out.key) == ("ai.requests", b"1.2.3")
    assert numbers(request) == ["P1 - A1"]
    assert follows(request, None)
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
    first = await hospital.answer(study())
    request = await hospital.answer(order(placer="P1", accession="A1", at=2))
    assert numbers(request) == ["P1 - A1", "P2 - A1"]
    assert follows(request, first)


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


async def test_a_state_names_the_messages_that_ordered_it(hospital: Hospital) -> None:
    """The newest of each sender, when it was first told; the same said again in another message makes no other state."""
    first, again = (order(placer="P1", accession="A1", at=at) for at in (0, 2))
    await hospital.happens(first)
    (out,) = await hospital.happens(study(at=1))
    (named,) = said(out).subject.messages
    assert (named.sender, named.message_control_id) == ("HIS|F", first.sender.message_control_id)
    (repeated,) = await hospital.happens(again)
    assert repeated.value == out.value
    other = order(placer="P2", accession="A1", at=3)
    (out,) = await hospital.happens(other)
    assert [one.message_control_id for one in said(out).subject.messages] == [
        event.sender.message_control_id for event in (again, other)
    ]
