"""What correlation itself says is not analysed: cancelled orders, two patients, no image."""

from __future__ import annotations

import pytest

from schemas.events import OrderStatus
from schemas.findings import NotAnalysedReason
from schemas.identifiers import PatientIdentifier
from schemas.study_events import AnalysisRequested
from tests.unit.cases import JANE, JOHN, Hospital, follows, numbers, order, reason, said, study


async def test_cancelled_before_and_after_the_study(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.answer(study())
    (out,) = await hospital.happens(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED))
    told = said(out)
    assert (out.topic, out.key, reason(told)) == ("ai.results", b"1.2.3", NotAnalysedReason.ORDER_CANCELLED)
    assert numbers(told) == ["P1 - A1"]
    assert told.subject.patient == JANE
    assert follows(told, first)
    other = await hospital.answer(study("1.2.4"))
    assert reason(other) is NotAnalysedReason.ORDER_CANCELLED
    again = await hospital.answers(order(placer="P1", accession="A1", at=2))
    assert [reason(one) for one in again] == [None, None]
    assert [follows(one, before) for one, before in zip(again, (told, other), strict=True)] == [True, True]


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
    refused = await hospital.answer(study(patient=None))
    assert reason(refused) is NotAnalysedReason.IDENTITY_MISMATCH
    corrected = await hospital.answer(order(placer="P2", accession="A1", at=1, patients=(JANE,)))
    assert reason(corrected) is None
    assert follows(corrected, refused)


async def test_no_eligible_image(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    told = await hospital.answer(study(images=0))
    assert reason(told) is NotAnalysedReason.NO_IMAGE
    assert numbers(told) == ["P1 - A1"]
