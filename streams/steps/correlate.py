"""Join orders and studies: what is known of a study after this record is told, whether or not it was told before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import structlog
from pydantic import ValidationError

from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import (
    FINDINGS_TYPE,
    AnalysisRequested,
    Event,
    OrderCancelled,
    OrderChanged,
    OrderEvent,
    OrderPlaced,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    StudyCompleted,
)
from schemas.findings import Findings, NotAnalysedReason, Subject
from schemas.identifiers import AccessionNumber, StudyInstanceUID, identity
from schemas.ports import CaseStore, Correlation, Due, OrderNumber, Outgoing, PatientEvent, Record, StudyState, Told
from streams.case_state import Answer, Policy, answer, current, patients_of, tell, value_of
from streams.concerned import orders_of_lines, persons_around
from streams.emission import emit_value
from streams.linking import linked_orders, reference_of
from streams.order_lines import accessions_named, lines_of, with_accession_now
from streams.persons import Identifiers, Persons, named_in
from streams.serialised import Keys, Work, cover, keys_of, serialised
from streams.topics import ORDERS, PATIENTS, REQUESTS, REQUESTS_STAT, RESULTS, STUDIES

#: the timer of a study that waits for its order
ORDER_AWAITED = "order-awaited"

_ORDERS: dict[str, type[OrderEvent]] = {kind.TYPE: kind for kind in (OrderPlaced, OrderChanged, OrderCancelled)}
_PATIENTS: dict[str, type[PatientEvent]] = {kind.TYPE: kind for kind in (PatientUpdated, PatientMerged, PatientUnlinked)}
_TOPICS = {topic.name: topic for topic in (REQUESTS, REQUESTS_STAT, RESULTS)}
_E = TypeVar("_E", bound=Event)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Trigger:
    """What makes a step tell: a record and its event, or a timer. `now`: what time it is by that, as far as a wait for an order
    is concerned; a study does not say."""

    time: datetime
    now: datetime | None
    record: Record | None = None
    event: UUID | None = None


@dataclass(frozen=True, slots=True)
class _Word:
    """One state to be told; `mismatch`: its subject, when it is a new identity mismatch."""

    out: Outgoing
    mismatch: Subject | None = None


async def correlate(record: Record, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """One record of `imaging.orders`, `imaging.patients` or `imaging.studies`. Raises MalformedMessage, UnsupportedMessage,
    MissingIdentifier, StoreUnavailable."""
    kind, topic = record.header("ce_type") or "", record.place.topic
    if topic == ORDERS.name and kind in _ORDERS:
        return await _order(_parsed(_ORDERS[kind], record), record, cases, policy)
    if topic == PATIENTS.name and kind in _PATIENTS:
        return await _patient(_parsed(_PATIENTS[kind], record), record, cases, policy)
    if topic == STUDIES.name and kind == StudyCompleted.TYPE:
        return await _study(_parsed(StudyCompleted, record), record, cases, policy)
    reason = "neither an order, a patient nor a completed study of a version known here"
    raise UnsupportedMessage("correlate", str(record.place), reason)


async def order_wait_over(due: Due, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """The timer of a study that waited for its order. Raises StoreUnavailable."""
    uid = StudyInstanceUID(due.case)

    async def work(rows: Correlation, locked: Keys) -> Sequence[_Word]:
        state = await rows.study(uid)
        return () if state is None else await _told(rows, locked, state, _Trigger(due.not_before, due.not_before), policy)

    return await _said(cases, keys_of([uid]), work)


async def _order(order: OrderEvent, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    try:
        told = reference_of(order)
    except ValueError:
        raise MissingIdentifier("correlate", str(record.place), "an order without any number") from None
    own = keys_of([told.placer_order_number, told.filler_order_number, told.accession_number])

    async def work(rows: Correlation, locked: Keys) -> Sequence[_Word]:
        await rows.put_order(order)
        events, numbers = await orders_of_lines(rows, lines_of(order))
        cover(locked, own | keys_of(numbers))
        words: list[_Word] = []
        for accession in accessions_named((*events, order)):  # also one that the order had: its studies lose it
            for state in await rows.studies_of(accession):
                if current(state).accession_number == accession:
                    words += await _told(rows, locked, state, _Trigger(order.time, order.time, record, order.id), policy)
        return words

    return await _said(cases, own, work)


async def _study(completed: StudyCompleted, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    async def work(rows: Correlation, locked: Keys) -> Sequence[_Word]:
        await rows.put_study(completed)
        state = await rows.study(completed.study_instance_uid)
        assert state is not None
        return await _told(rows, locked, state, _Trigger(completed.time, None, record, completed.id), policy)

    return await _said(cases, _keys_of_study(StudyState((completed,))), work)


async def _patient(event: PatientEvent, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """Only the studies whose state this event changes are told: patients are updated often, and each has old studies. And
    again those that this very event changed before, should it have been lost between commit and log (rule 2)."""
    named = named_in(event)
    if len(named) == 1:
        return ()  # one identifier alone joins nothing

    async def work(rows: Correlation, locked: Keys) -> Sequence[_Word]:
        before, reached = await persons_around(rows, named)
        await rows.put_patient(event)
        after, reached = await persons_around(rows, reached)
        cover(locked, keys_of(reached))
        again = await rows.told_because(event.id)
        changed = () if before.view(reached) == after.view(reached) else await _studies_of(rows, reached)
        words: list[_Word] = []
        for uid in sorted({*again, *changed}):
            state = await rows.study(uid)
            # one that was never told waits for its order, and will be told with what is known then
            if state is not None and state.told is not None:
                trigger = _Trigger(event.time, event.time, record, event.id)
                words += await _told(rows, locked, state, trigger, policy, unchanged_too=uid in again)
        return words

    return await _said(cases, keys_of(named), work)


async def _studies_of(rows: Correlation, patients: Identifiers) -> set[StudyInstanceUID]:
    """All studies that name one of the patients or that have an order which does; perhaps a few more."""
    uids = set(await rows.studies_of_patients(patients))
    orders = await rows.orders_of_patients(patients)
    known, _ = await orders_of_lines(rows, [line for order in orders for line in lines_of(order)]) if orders else ((), ())
    for accession in accessions_named((*orders, *known)):
        uids.update(current(state).study_instance_uid for state in await rows.studies_of(accession))
    return uids


async def _told(
    rows: Correlation, locked: Keys, state: StudyState, trigger: _Trigger, policy: Policy, *, unchanged_too: bool = True
) -> Sequence[_Word]:
    """Tell the state of a study, or let it wait for its order."""
    study = current(state)
    events, numbers = await _orders_under(rows, study.accession_number)
    orders = () if study.accession_number is None else linked_orders(with_accession_now(events), study.accession_number)
    patients = patients_of(study, orders)
    persons, reached = await persons_around(rows, patients) if patients else (Persons(), patients)
    cover(locked, _keys_of_study(state) | keys_of(numbers, reached))
    said = answer(study, orders, persons, policy)
    timer = _timer(study, policy)
    if not orders and not _wait_is_over(said, state.told, timer, trigger.now):
        await rows.put_due(timer)
        return ()
    if trigger.record is not None:  # a timer that fired is removed by the sweeper, after the outputs are on the log
        for event in state.events:
            await rows.remove_due(_timer(event, policy).id)
    told = tell(study, said, state.told, trigger.time, policy, trigger.event)
    new = told is not state.told
    if new:
        await rows.put_told(study.study_instance_uid, told)
    if not new and not unchanged_too:
        return ()
    value = value_of(told)
    mismatch = new and said.reason is NotAnalysedReason.IDENTITY_MISMATCH
    return (_Word(_outgoing(told, value, trigger.record), value.subject if mismatch else None),)


async def _orders_under(rows: Correlation, accession: AccessionNumber | None) -> tuple[Sequence[OrderEvent], Iterable[OrderNumber]]:
    return ((), ()) if accession is None else await orders_of_lines(rows, (), accession)


def _wait_is_over(said: Answer, told: Told | None, timer: Due, now: datetime | None) -> bool:
    """The timer fired or would have, or it did so earlier and this was told then."""
    return (told is not None and told.identity == said.digest) or (now is not None and now >= timer.not_before)


def _timer(study: StudyCompleted, policy: Policy) -> Due:
    """One per event and moment: the sweeper that removes a timer which has fired never removes one set since."""
    not_before = study.time + policy.order_wait
    uid = study.study_instance_uid
    id = identity(ORDER_AWAITED, uid, str(study.id), study.revision, not_before.isoformat())
    return Due(id=id, reason=ORDER_AWAITED, case=uid, not_before=not_before)


def _outgoing(told: Told, value: AnalysisRequested | Findings, cause: Record | None) -> Outgoing:
    """Exactly the told bytes, as a record."""
    id, kind = (value.analysis_id, FINDINGS_TYPE) if isinstance(value, Findings) else (value.id, value.TYPE)
    key, time = value.subject.study_instance_uid, value.subject.triggered_at
    return emit_value(_TOPICS[told.topic], key, told.value, id=id, type=kind, time=time, cause=cause)


async def _said(cases: CaseStore, keys: Keys, work: Work[Sequence[_Word]]) -> Sequence[Outgoing]:
    """What is told, once it is committed; a mismatch needs a person."""
    words = await serialised(cases, keys, work)
    for word in words:
        if word.mismatch is not None:
            accession = word.mismatch.accession_number
            number = None if accession is None else str(accession)
            uid = word.mismatch.study_instance_uid
            _log.error("alarm", alarm="identity-mismatch", study_instance_uid=uid, accession_number=number)
    return [word.out for word in words]


def _keys_of_study(state: StudyState) -> Keys:
    """A study is locked with every accession number and patient it ever carried: so everything that tells it is serialised."""
    accessions = [event.accession_number for event in state.events]
    return keys_of(accessions, [event.patient for event in state.events], [state.events[0].study_instance_uid])


def _parsed(kind: type[_E], record: Record) -> _E:
    try:
        return kind.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("correlate", str(record.place), f"not a {kind.TYPE}") from None
