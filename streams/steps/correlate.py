"""Join orders and studies: what is known of a study after this record is told, whether or not it was told before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from schemas.case_store import CaseStore, Correlation, Due, StudyState
from schemas.discrepancies import DiscrepancyAcknowledged
from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import (
    FINDINGS_TYPE,
    ORDER_EVENTS,
    PATIENT_EVENTS,
    REPORT_EVENTS,
    Event,
    OrderEvent,
    PatientEvent,
    ReportEvent,
)
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelRecalled
from schemas.ports import Outgoing, Record
from schemas.study_events import StudyCompleted
from streams.case_state import Policy, current
from streams.concerned import orders_around, persons_around
from streams.discrepancies import acknowledged
from streams.hearing import hear, keys_of_answer, reported
from streams.late import deadline_id, late
from streams.linking import reference_of
from streams.order_lines import accessions_of, lines_of
from streams.persons import Identifiers
from streams.recalls import recalled
from streams.serialised import Keys, cover, keys_of, serialised
from streams.speaking import heard
from streams.telling import Telling, Trigger, committed, keys_of_study, tell_states
from streams.topics import DISCREPANCIES, MODELS, ORDERS, PATIENTS, REPORTS, RESULTS, STUDIES, Topic, plain_name

#: what this step reads
TOPICS: tuple[Topic, ...] = (ORDERS, PATIENTS, STUDIES, REPORTS, RESULTS, DISCREPANCIES, MODELS)

_V = TypeVar("_V", bound=BaseModel)


async def correlate(record: Record, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """One record of a topic in TOPICS: `ai.results` ends a wait and is heard, `radstream.models` may recall what was, and of
    `ai.discrepancies` what a person said counts. Raises MalformedMessage, UnsupportedMessage, MissingIdentifier,
    StoreUnavailable."""
    kind, topic = record.header("ce_type") or "", plain_name(record.place.topic)
    if topic == ORDERS.name and kind in ORDER_EVENTS:
        return await _order(_parsed(ORDER_EVENTS[kind], record), record, cases, policy)
    if topic == PATIENTS.name and kind in PATIENT_EVENTS:
        return await _patient(_parsed(PATIENT_EVENTS[kind], record), record, cases, policy)
    if topic == STUDIES.name and kind == StudyCompleted.TYPE:
        return await _study(_parsed(StudyCompleted, record), record, cases, policy)
    if topic == RESULTS.name and kind == FINDINGS_TYPE:
        return await _result(_parsed(Findings, record), record, cases, policy)
    if topic == REPORTS.name and kind in REPORT_EVENTS:
        return await _report(_parsed(REPORT_EVENTS[kind], record), cases, policy)
    if topic == DISCREPANCIES.name:
        if kind == DiscrepancyAcknowledged.TYPE:
            return await acknowledged(_parsed(DiscrepancyAcknowledged, record), cases=cases)
        return ()
    if topic == MODELS.name:
        return await recalled(_parsed(ModelRecalled, record), cases=cases) if kind == ModelRecalled.TYPE else ()
    reason = "neither an order, a patient, a completed study, a report nor findings of a version known here"
    raise UnsupportedMessage("correlate", str(record.place), reason)


async def order_wait_over(due: Due, fired_at: datetime, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """The timer of a study that waited for its order. Raises StoreUnavailable."""
    uid = StudyInstanceUID(due.case)

    async def work(rows: Correlation, locked: Keys) -> Sequence[Telling]:
        state = await rows.study(uid)
        states = [] if state is None else [state]
        return await tell_states(rows, locked, states, Trigger(due.not_before, due.not_before, fired_at), policy)

    return await committed(cases, keys_of([uid]), work)


async def deadline_passed(due: Due, fired_at: datetime, *, cases: CaseStore) -> Sequence[Outgoing]:
    """The timer of a request that waited for its answer. Raises StoreUnavailable."""
    del fired_at
    uid = StudyInstanceUID(due.case)
    async with cases.correlation(*keys_of([uid])) as rows:
        said = late(due, await rows.study(uid))
    return () if said is None else (said,)


async def _result(findings: Findings, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """It is in time, or says itself that it is late; what `correlate` itself said of an answer is no news."""
    outs: Sequence[Outgoing] = ()
    async with cases.correlation(*keys_of_answer(findings)) as rows:
        if findings.service == CHEST_RADIOGRAPH_FINDINGS:
            await rows.remove_due(deadline_id(findings.analysis_id))
        elif findings.verified_at is None:
            outs = await heard(rows, await rows.study(findings.subject.study_instance_uid), findings, record)
        return [*outs, *await hear(rows, findings, record, policy.escalate_after)]


async def _report(report: ReportEvent, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    own = keys_of([report.placer_order_number, report.filler_order_number, report.accession_number])

    async def work(rows: Correlation, locked: Keys) -> Sequence[Outgoing]:
        return await reported(rows, locked, own, report, policy.escalate_after)

    return await serialised(cases, own, work)


async def _order(order: OrderEvent, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    try:
        told = reference_of(order)
    except ValueError:
        raise MissingIdentifier("correlate", str(record.place), "an order without any number") from None
    own = keys_of([told.placer_order_number, told.filler_order_number, told.accession_number])

    async def work(rows: Correlation, locked: Keys) -> Sequence[Telling]:
        await rows.put_order(order)
        events, numbers = await orders_around(rows, lines_of(order))
        cover(rows, locked, own | keys_of(numbers))
        states = [
            state
            # also one that the order had: its studies lose it
            for accession in sorted(accessions_of(*events, order), key=str)
            for state in await rows.studies_of(accession)
            if current(state).accession_number == accession
        ]
        return await tell_states(rows, locked, states, _trigger(order, record), policy)

    return await committed(cases, own, work)


async def _study(completed: StudyCompleted, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    async def work(rows: Correlation, locked: Keys) -> Sequence[Telling]:
        await rows.put_study(completed)
        state = await rows.study(completed.study_instance_uid)
        assert state is not None
        # several sources notice one study: who says only what was told asks for no second analysis
        again = await rows.told_because(completed.id)
        trigger = Trigger(completed.time, None, record.timestamp, record, completed.id)
        return await tell_states(rows, locked, [state], trigger, policy, again=again)

    return await committed(cases, keys_of_study(StudyState((completed,))), work)


async def _patient(event: PatientEvent, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """Only the studies whose state this event changes are told: patients are updated often, and each has old studies. And
    again those that this very event changed before, should it have been lost between commit and log (rule 2)."""
    if not all(event.identifier_lists):
        raise MissingIdentifier("correlate", str(record.place), "a patient event that names nobody")
    if len(event.named) == 1:
        return ()  # one identifier alone joins nothing

    async def work(rows: Correlation, locked: Keys) -> Sequence[Telling]:
        before, reached = await persons_around(rows, event.named)
        await rows.put_patient(event)
        after, reached = await persons_around(rows, reached)
        cover(rows, locked, keys_of(reached))
        again = await rows.told_because(event.id)
        changed = () if before.view(reached) == after.view(reached) else await _studies_of(rows, reached)
        states = [await rows.study(uid) for uid in sorted({*again, *changed})]
        # one that was never told waits for its order, and will be told with what is known then
        told = [state for state in states if state is not None and state.told is not None]
        return await tell_states(rows, locked, told, _trigger(event, record), policy, again=again)

    return await committed(cases, keys_of(event.named), work)


async def _studies_of(rows: Correlation, patients: Identifiers) -> set[StudyInstanceUID]:
    """All studies that name one of the patients or that have an order which does; perhaps a few more."""
    uids = set(await rows.studies_of_patients(patients))
    orders = await rows.orders_of_patients(patients)
    known, _ = await orders_around(rows, [line for order in orders for line in lines_of(order)])
    for accession in accessions_of(*orders, *known):
        uids.update(current(state).study_instance_uid for state in await rows.studies_of(accession))
    return uids


def _trigger(event: Event, record: Record) -> Trigger:
    return Trigger(event.time, event.time, record.timestamp, record, event.id)


def _parsed(kind: type[_V], record: Record) -> _V:
    try:
        return kind.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("correlate", str(record.place), f"not the {kind.__name__} that its headers say") from None
