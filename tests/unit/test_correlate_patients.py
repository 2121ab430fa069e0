"""Patients over merges and unlinks, corrected and replaced orders: whom a study is about, and who is told."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from connectors.case_store.correlation import SqlCorrelation
from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import OrderPlaced, OrderStatus, PatientEvent, PatientMerged
from schemas.findings import NotAnalysedReason, OrderReference
from schemas.identifiers import PlacerOrderNumber
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested
from streams.case_state import Policy
from streams.emission import emit
from streams.steps.correlate import correlate
from streams.topics import PATIENTS
from tests.unit.cases import (
    JANE,
    JOHN,
    Hospital,
    follows,
    merge,
    minutes,
    numbers,
    order,
    person,
    reason,
    record_of,
    said,
    study,
    unlink,
    update,
)

OLD = person("4710")
CITIZEN = person("N1", "NATION")
MISMATCH = NotAnalysedReason.IDENTITY_MISMATCH
CANCELLED = NotAnalysedReason.ORDER_CANCELLED


def same(one: list[Outgoing], other: list[Outgoing]) -> bool:
    """The same bytes under the same id."""
    seen = [[(out.topic, out.key, out.value, dict(out.headers)["ce_id"]) for out in outs] for outs in (one, other)]
    return bool(one) and seen[0] == seen[1]


# -------------------------------------------------------------------------------------------------- the wrong patient


async def test_a_mismatch_is_an_alarm_once_and_names_nobody(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=(JOHN,)))
    with capture_logs() as logs:
        told = await hospital.answer(study())
        await hospital.happens(study())
        await hospital.happens(order(placer="P1", accession="A1", patients=(JOHN,)))
    assert (reason(told), told.subject.patient) == (MISMATCH, None)
    assert logs == [
        {
            "event": "alarm",
            "log_level": "error",
            "alarm": "identity-mismatch",
            "study_instance_uid": "1.2.3",
            "accession_number": "A1^RIS",
        }
    ]


async def test_a_merge_clears_a_mismatch_and_an_unlink_brings_it_back(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    refused = await hospital.answer(study(patient=OLD))
    assert reason(refused) is MISMATCH
    with capture_logs() as logs:
        merged = await hospital.answer(merge(OLD, into=[JANE], at=5))
        assert isinstance(merged, AnalysisRequested)
        assert merged.subject.patient == JANE
        assert follows(merged, refused)
        assert merged.subject.triggered_at == merged.time == minutes(5)
        withdrawn = await hospital.answer(unlink([JANE], [OLD], at=6))
        assert (reason(withdrawn), withdrawn.subject.patient) == (MISMATCH, None)
        assert follows(withdrawn, merged)
        assert await hospital.happens(merge(OLD, into=[JANE], at=4)) == []  # late, and older than both
        again = await hospital.answer(merge(OLD, into=[JANE], at=7))
    assert isinstance(again, AnalysisRequested)
    assert [line["alarm"] for line in logs] == ["identity-mismatch"]


async def test_what_a_merge_said_before_order_and_study_came(hospital: Hospital) -> None:
    assert await hospital.happens(merge(OLD, into=[JANE])) == []
    assert await hospital.happens(order(placer="P1", accession="A1")) == []
    told = await hospital.answer(study(patient=OLD))
    assert (reason(told), told.subject.patient) == (None, JANE)


async def test_an_update_that_names_both_numbers(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=(CITIZEN,)))
    await hospital.happens(study())
    told = await hospital.answer(update(JANE, CITIZEN))
    assert (reason(told), told.subject.patient) == (None, JANE)
    (withdrawn,) = await hospital.answers(update(JOHN, CITIZEN, at=1))  # it was typed into the wrong record
    assert reason(withdrawn) is MISMATCH


async def test_a_merge_over_two_steps_reaches_the_study(hospital: Hospital) -> None:
    older = person("4709")
    await hospital.happens(merge(older, into=[OLD]))
    await hospital.happens(order(placer="P1", accession="A1"))
    assert reason(await hospital.answer(study(patient=older))) is MISMATCH
    told = await hospital.answer(merge(OLD, into=[JANE], at=1))
    assert (reason(told), told.subject.patient) == (None, JANE)


async def test_a_cancelled_order_does_not_come_back_by_a_merge(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", status=OrderStatus.CANCELLED))
    assert reason(await hospital.answer(study(patient=OLD))) is CANCELLED
    told = await hospital.answer(merge(OLD, into=[JANE], at=1))
    assert (reason(told), told.subject.patient) == (CANCELLED, JANE)


# ------------------------------------------------------------------------------------------------------- who is told


async def test_a_study_without_an_order_goes_by_the_surviving_number(hospital: Hospital) -> None:
    await hospital.happens(study(patient=OLD))
    assert await hospital.happens(merge(person("4709"), into=[OLD], at=0.5)) == []  # it waits for its order
    await hospital.time_passes(1)
    (told,) = await hospital.happens(merge(OLD, into=[JANE], at=2))
    assert said(told).subject.patient == JANE
    assert await hospital.due(99) == []


async def test_a_study_that_waits_for_its_order_is_told_by_its_timer_however_late_a_merge_comes(hospital: Hospital) -> None:
    await hospital.happens(study(patient=OLD))
    assert await hospital.happens(merge(OLD, into=[JANE], at=5)) == []
    (told,) = await hospital.time_passes(5)
    assert (said(told).subject.patient, said(told).subject.triggered_at) == (JANE, minutes(1))


async def test_a_study_that_names_nobody_goes_by_its_order(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", patients=(OLD,)))
    await hospital.happens(order(placer="P1", filler="F1", accession="A1", patients=(), at=1, sender="RIS"))
    assert (await hospital.answer(study(patient=None))).subject.patient == OLD
    assert (await hospital.answer(merge(OLD, into=[JANE], at=2))).subject.patient == JANE


async def test_only_studies_whose_state_changes_are_told(hospital: Hospital) -> None:
    for number, patient in enumerate((JANE, JANE, OLD, JOHN), 3):
        await hospital.happens(order(placer=f"P{number}", accession=f"A{number}", patients=(patient,)))
        await hospital.happens(study(f"1.2.{number}", accession=f"A{number}", patient=patient))
    assert [said(out).subject.study_instance_uid for out in await hospital.happens(merge(OLD, into=[JANE], at=1))] == ["1.2.5"]
    assert await hospital.happens(update(JANE, CITIZEN, at=2)) == []
    assert await hospital.happens(update(JANE, CITIZEN, at=3)) == []
    assert await hospital.happens(unlink([JANE], [JOHN], at=4)) == []


async def test_where_nothing_is_new_of_its_persons_no_study_is_read(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    await hospital.happens(update(JANE, CITIZEN))
    monkeypatch.delattr(SqlCorrelation, "studies_of_patients")
    assert await hospital.happens(update(JANE, CITIZEN, at=1)) == []


async def test_a_redelivered_merge_tells_again_what_it_changed_and_nothing_else(hospital: Hospital) -> None:
    for uid, patient in (("1.2.3", OLD), ("1.2.4", JANE)):
        await hospital.happens(order(placer=uid, accession=uid, patients=(JANE,)))
        await hospital.happens(study(uid, accession=uid, patient=patient))
    joined = merge(OLD, into=[JANE], at=1)
    first = await hospital.happens(joined)
    assert len(first) == 1
    assert same(await hospital.happens(joined), first)
    await hospital.happens(study("1.2.3", accession="1.2.3", patient=OLD, at=2, images=2))
    assert await hospital.happens(joined) == []  # its state is no longer the one this made


async def test_one_identifier_alone_is_not_even_kept(hospital: Hospital) -> None:
    assert await hospital.happens(update(JANE)) == []
    async with hospital.cases.correlation("x") as rows:
        assert await rows.patient_events({JANE}) == []


async def test_patients_whom_nobody_examines(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1"))
    first = await hospital.happens(study())
    assert await hospital.happens(update(JOHN, CITIZEN)) == []
    assert await hospital.happens(merge(OLD, into=[JOHN], at=1)) == []
    assert same(await hospital.happens(study()), first)


# ----------------------------------------------------------------------------------- corrected, moved, replaced orders


async def test_an_order_corrected_to_another_patient(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", patients=(JOHN,)))
    wrong = await hospital.answer(study(patient=None))
    assert wrong.subject.patient == JOHN
    right = await hospital.answer(order(placer="P1", accession="A1", at=1, changed=True))
    assert isinstance(right, AnalysisRequested)
    assert right.subject.patient == JANE
    assert follows(right, wrong)
    assert await hospital.answer(order(placer="P1", accession="A1", at=0.5, patients=(JOHN,), changed=True)) == right


async def test_an_order_moved_to_another_accession_number_leaves_the_first(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", priority=order(placer="x").priority))
    assert numbers(await hospital.answer(study("1.2.3"))) == ["P1 - A1"]
    assert await hospital.happens(study("1.2.4", accession="A2")) == []
    moved = order(placer="P1", accession="A2", at=2, changed=True)
    told = {value.subject.study_instance_uid: numbers(value) for value in await hospital.answers(moved)}
    assert told == {"1.2.3": [], "1.2.4": ["P1 - A2"]}
    cancelled = await hospital.answers(order(placer="P1", accession="A1", at=3, status=OrderStatus.CANCELLED))
    assert {value.subject.study_instance_uid: reason(value) for value in cancelled} == {"1.2.3": None, "1.2.4": CANCELLED}


async def test_an_order_moved_while_its_study_may_still_wait(hospital: Hospital) -> None:
    hospital.policy = Policy(without_order="refuse")
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(study())
    assert await hospital.happens(order(placer="P1", accession="A2", at=0.5, changed=True)) == []
    (told,) = await hospital.time_passes(1)
    assert reason(said(told)) is NotAnalysedReason.NO_ORDER


def replaced(placer: str) -> tuple[OrderReference, ...]:
    return (OrderReference(placer_order_number=PlacerOrderNumber(value=placer, assigner="HIS")),)


@pytest.mark.parametrize("accession", ["A1", "A2", None])
async def test_a_replaced_order_keeps_its_study(hospital: Hospital, accession: str | None) -> None:
    """ORC-1 RP and RO, whatever accession number the new order has."""
    here = accession or "-"
    await hospital.happens(order(placer="P1", accession="A1"))
    await hospital.happens(study())
    old = order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED)
    new = order(placer="P2", accession=accession, at=1, replaces=replaced("P1"))
    assert reason(await hospital.answer(old)) is CANCELLED
    told = await hospital.answer(new)
    assert (reason(told), numbers(told)) == (None, [f"P2 - {here}"])
    newer = await hospital.answer(order(placer="P3", at=2, replaces=replaced("P2")))
    assert numbers(newer) == [f"P2 - {here}", "P3 - -"]
    for cancelled in ("P2", "P3"):
        told = await hospital.answer(order(placer=cancelled, at=3, status=OrderStatus.CANCELLED))
    assert reason(told) is CANCELLED


async def test_a_replacement_that_came_before_what_it_replaces(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P2", filler="F2", accession="A2", at=1, replaces=replaced("P1")))
    await hospital.happens(study())
    told = await hospital.answer(order(placer="P1", accession="A1", at=1, status=OrderStatus.CANCELLED))
    assert (reason(told), numbers(told)) == (None, ["P2 F2 A2"])
    mismatch = await hospital.answer(order(placer="P2", filler="F2", accession="A2", at=2, patients=(JOHN,), changed=True))
    assert reason(mismatch) is MISMATCH


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        (PatientMerged.TYPE, b'{"patients": ["DOE^JANE"]}', MalformedMessage),
        ("org.radstream.patient.merged.v9", b"{}", UnsupportedMessage),
        (OrderPlaced.TYPE, b"{}", UnsupportedMessage),
    ],
)
async def test_bad_records(hospital: Hospital, kind: str, value: bytes, error: type[Exception]) -> None:
    record = Record(Place(PATIENTS.name, 0, 1), b"k", value, (("ce_type", kind.encode()),), minutes(0))
    with pytest.raises(error) as caught:
        await correlate(record, cases=hospital.cases, policy=hospital.policy)
    assert "DOE" not in str(caught.value)


@pytest.mark.parametrize("event", [update(), merge(into=[JANE, OLD]), unlink([], [JANE, OLD])])
async def test_an_event_that_names_nobody(hospital: Hospital, event: PatientEvent) -> None:
    with pytest.raises(MissingIdentifier):
        await hospital.happens(event)


def test_the_three_kinds_stand_on_their_topic() -> None:
    for event in (update(JANE, OLD), merge(OLD, into=[JANE]), unlink([JANE], [OLD])):
        assert record_of(event).place.topic == emit(PATIENTS, "k", event, None).topic == "imaging.patients"
