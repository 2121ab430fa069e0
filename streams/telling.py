"""Tell the states of studies: from all that decides them, under the locks of all that was looked up, to the records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog

from schemas.case_store import CaseStore, Correlation, Due, StudyState, Told
from schemas.events import FINDINGS_TYPE, OrderEvent
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason, Subject
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Record
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.case_state import Answer, Policy, answer, current, patients_of, tell, value_of
from streams.concerned import orders_around, persons_around
from streams.emission import emit_value
from streams.late import deadline_of
from streams.linking import LinkedOrder, linked_orders
from streams.news import FLOOD, Lane, lane_of
from streams.order_lines import around, with_accession_now
from streams.persons import Persons
from streams.serialised import Keys, Work, cover, keys_of, serialised
from streams.speaking import said_by
from streams.topics import REQUESTS, REQUESTS_BULK, REQUESTS_STAT, RESULTS

#: the timer of a study that waits for its order
ORDER_AWAITED = "order-awaited"

_TOPICS = {topic.name: topic for topic in (REQUESTS, REQUESTS_STAT, REQUESTS_BULK, RESULTS)}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trigger:
    """What makes a step tell: a record and its event, or a timer. `now`: what time it is by that, as far as a wait for an order
    is concerned; a study does not say. `came_at`: when it came to us, whatever old times it speaks of: the record's timestamp, or
    when the timer fired."""

    time: datetime
    now: datetime | None
    came_at: datetime
    record: Record | None = None
    event: UUID | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """One state to be told, of `subject`, in the reports of all services; `alarm`: what about it needs a person."""

    outs: Sequence[Outgoing]
    subject: Subject
    alarm: Literal["identity-mismatch", "flood"] | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A study and all that decides its state, but for its persons."""

    state: StudyState
    study: StudyCompleted
    orders: Sequence[LinkedOrder]

    @property
    def ordered(self) -> bool:
        return any(not order.cancelled for order in self.orders)


async def committed(cases: CaseStore, keys: Keys, work: Work[Sequence[Telling]]) -> Sequence[Outgoing]:
    """What `work` tells, once it is committed, and its alarms."""
    tellings = await serialised(cases, keys, work)
    for telling in tellings:
        if telling.alarm is not None:
            accession = telling.subject.accession_number
            number = None if accession is None else str(accession)
            uid = telling.subject.study_instance_uid
            _log.error("alarm", alarm=telling.alarm, study_instance_uid=uid, accession_number=number)
    return [out for telling in tellings for out in telling.outs]


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
    """Tell the state of a study, or let it wait for its order; what was told wrong waits for nothing. Who was told nothing of a
    study need not hear that it is gone; of one that is ignored nobody hears."""
    state, study = case.state, case.study
    if study.gone and state.told is None:
        return None
    lane, others = await _lane(rows, case, policy)
    if lane is Lane.IGNORED:
        return None
    said = answer(study, case.orders, persons, policy, lane)
    timer = _timer(_first_to_say(state, study), policy)
    corrected = _corrected(state, study, said, persons)
    if not (case.orders or study.gone or corrected or _wait_is_over(said, state.told, timer, trigger.now)):
        await rows.put_due(timer)
        return None
    now = tell(study, said, state.told, trigger.time, policy, trigger.event)
    new = now is not state.told
    if not new and again is not None and study.study_instance_uid not in again:
        return None
    if trigger.record is not None:  # a timer that fired is removed by the sweeper, after the outputs are on the log
        for event in state.events:
            await rows.remove_due(_timer(event, policy).id)
    value = value_of(now)
    services = tuple(sorted({*state.services, *policy.services}))
    if new:
        await rows.put_told(study.study_instance_uid, now)
        for service in set(services).difference(state.services):
            await rows.put_service(study.study_instance_uid, service)
        await _set_deadline(rows, value, services, trigger, policy, corrected=corrected)
        if others is not None:
            await rows.put_without_order(study.study_instance_uid, study.time)
    outs = [_outgoing(now, value, trigger.record)]
    if isinstance(value, Findings):
        outs += said_by(services, value, trigger.record)
    return Telling(outs, value.subject, _alarm(said, others, policy) if new else None)


async def _lane(rows: Correlation, case: _Case, policy: Policy) -> tuple[Lane, int | None]:
    """And how many others came without an order in the hour before, where that is asked. What receivers were told of stays news
    for ever: it must be corrected and withdrawn where it was said."""
    state, study, limit = case.state, case.study, policy.news.flood_per_hour
    lane, others = lane_of(state, study, policy.news), None
    if lane is Lane.NEWS and limit is not None and not case.ordered:
        others = await rows.without_order_before(study.study_instance_uid, study.time, FLOOD)
        lane = Lane.BULK if others >= limit else Lane.NEWS
    if lane is not Lane.NEWS and state.told is not None and value_of(state.told).subject.outward:
        lane = Lane.NEWS
    return lane, others


async def _set_deadline(
    rows: Correlation,
    value: AnalysisRequested | Findings,
    services: tuple[str, ...],
    trigger: Trigger,
    policy: Policy,
    *,
    corrected: bool,
) -> None:
    """Of a request that receivers wait for, for each report: over at once where what they may hold is wrong, however long the
    answer takes."""
    wait = timedelta() if corrected else policy.deadline
    if wait is not None and isinstance(value, AnalysisRequested) and value.subject.outward:
        for service in (CHEST_RADIOGRAPH_FINDINGS, *services):
            await rows.put_due(deadline_of(value, trigger.came_at + wait, service))


def _corrected(state: StudyState, study: StudyCompleted, said: Answer, persons: Persons) -> bool:
    """Whether receivers may hold findings on an image that is of the study no more, or of another patient. All events count: what
    the last request corrected may still stand."""
    before = None if state.told is None else value_of(state.told).subject
    if before is None or not before.outward:
        return False
    images = {image.sop_instance_uid for image in study.images}
    if any(image.sop_instance_uid not in images for event in state.events for image in event.images):
        return True
    patients = {patient for patient in (before.patient, *(event.patient for event in state.events)) if patient is not None}
    now = () if said.patient is None else (said.patient,)
    return not all(persons.agree((patient,), now) for patient in patients)


def _alarm(said: Answer, others: int | None, policy: Policy) -> Literal["identity-mismatch", "flood"] | None:
    """Of a flood the first study alone: the one with which the limit is passed."""
    if said.reason is NotAnalysedReason.IDENTITY_MISMATCH:
        return "identity-mismatch"
    return "flood" if said.lane is Lane.BULK and others is not None and others == policy.news.flood_per_hour else None


def _wait_is_over(said: Answer, told: Told | None, timer: Due, now: datetime | None) -> bool:
    """The timer fired or would have, or it did so earlier and this was told then."""
    return (told is not None and told.identity == said.digest) or (now is not None and now >= timer.not_before)


def _first_to_say(state: StudyState, study: StudyCompleted) -> StudyCompleted:
    """A source that says what another one said before begins no wait anew."""
    same = (event for event in state.events if _told_of(event) == _told_of(study))
    return next(same, study)


def _told_of(study: StudyCompleted) -> tuple[object, ...]:
    return study.revision, study.accession_number, study.patient


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
