"""Tell the states of studies: from all that decides them, under the locks of all that was looked up, to the records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from schemas.case_store import CaseStore, Correlation, Due, StudyState, Told
from schemas.events import FINDINGS_TYPE, OrderEvent
from schemas.findings import Findings, NotAnalysedReason, Subject
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Record
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.case_state import Answer, Policy, answer, current, patients_of, tell, value_of
from streams.concerned import orders_around, persons_around
from streams.emission import emit_value
from streams.linking import LinkedOrder, linked_orders
from streams.order_lines import around, with_accession_now
from streams.persons import Persons
from streams.serialised import Keys, Work, cover, keys_of, serialised
from streams.topics import REQUESTS, REQUESTS_STAT, RESULTS

#: the timer of a study that waits for its order
ORDER_AWAITED = "order-awaited"

_TOPICS = {topic.name: topic for topic in (REQUESTS, REQUESTS_STAT, RESULTS)}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trigger:
    """What makes a step tell: a record and its event, or a timer. `now`: what time it is by that, as far as a wait for an order
    is concerned; a study does not say."""

    time: datetime
    now: datetime | None
    record: Record | None = None
    event: UUID | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """One state to be told; `mismatch`: its subject, when it is a new identity mismatch."""

    out: Outgoing
    mismatch: Subject | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A study and all that decides its state, but for its persons."""

    state: StudyState
    study: StudyCompleted
    orders: Sequence[LinkedOrder]


async def committed(cases: CaseStore, keys: Keys, work: Work[Sequence[Telling]]) -> Sequence[Outgoing]:
    """What `work` tells, once it is committed. A mismatch needs a person: an alarm."""
    tellings = await serialised(cases, keys, work)
    for telling in tellings:
        if telling.mismatch is not None:
            accession = telling.mismatch.accession_number
            number = None if accession is None else str(accession)
            uid = telling.mismatch.study_instance_uid
            _log.error("alarm", alarm="identity-mismatch", study_instance_uid=uid, accession_number=number)
    return [telling.out for telling in tellings]


async def tell_states(
    rows: Correlation,
    locked: Keys,
    states: Sequence[StudyState],
    trigger: Trigger,
    policy: Policy,
    *,
    again: Collection[StudyInstanceUID] | None = None,
) -> Sequence[Telling]:
    """The states of these studies: all of them, or with `again` only those that are new and these."""
    studies = [current(state) for state in states]
    accessions = {study.accession_number for study in studies if study.accession_number is not None}
    events, numbers = await orders_around(rows, accessions=accessions)
    known = [_Case(state, study, _orders_of(study, events)) for state, study in zip(states, studies, strict=True)]
    patients = frozenset(patient for case in known for patient in patients_of(case.study, case.orders))
    persons, reached = await persons_around(rows, patients)
    cover(rows, locked, keys_of(numbers, reached).union(*map(keys_of_study, states)))
    tellings = [await _telling(rows, case, persons, trigger, policy, again) for case in known]
    return [telling for telling in tellings if telling is not None]


def keys_of_study(state: StudyState) -> Keys:
    """A study is locked with every accession number and patient it ever carried: so everything that tells it is serialised."""
    accessions = [event.accession_number for event in state.events]
    return keys_of(accessions, [event.patient for event in state.events], [state.events[0].study_instance_uid])


def _orders_of(study: StudyCompleted, events: Sequence[OrderEvent]) -> Sequence[LinkedOrder]:
    accession = study.accession_number
    return () if accession is None else linked_orders(with_accession_now(around(events, (), (accession,))[0]), accession)


async def _telling(
    rows: Correlation,
    case: _Case,
    persons: Persons,
    trigger: Trigger,
    policy: Policy,
    again: Collection[StudyInstanceUID] | None,
) -> Telling | None:
    """Tell the state of a study, or let it wait for its order. Who was told nothing of a study need not hear that it is gone."""
    state, study = case.state, case.study
    if study.gone and state.told is None:
        return None
    said = answer(study, case.orders, persons, policy)
    timer = _timer(study, policy)
    if not case.orders and not study.gone and not _wait_is_over(said, state.told, timer, trigger.now):
        await rows.put_due(timer)
        return None
    now = tell(study, said, state.told, trigger.time, policy, trigger.event)
    new = now is not state.told
    if not new and again is not None and study.study_instance_uid not in again:
        return None
    if trigger.record is not None:  # a timer that fired is removed by the sweeper, after the outputs are on the log
        for event in state.events:
            await rows.remove_due(_timer(event, policy).id)
    if new:
        await rows.put_told(study.study_instance_uid, now)
    value = value_of(now)
    mismatch = new and said.reason is NotAnalysedReason.IDENTITY_MISMATCH
    return Telling(_outgoing(now, value, trigger.record), value.subject if mismatch else None)


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
