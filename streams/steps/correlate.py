"""Join orders and studies: what is known of a study after this record is told, whether or not it was told before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import (
    FINDINGS_TYPE,
    AnalysisRequested,
    OrderCancelled,
    OrderChanged,
    OrderEvent,
    OrderPlaced,
    StudyCompleted,
)
from schemas.findings import Findings
from schemas.identifiers import AccessionNumber, StudyInstanceUID, identity
from schemas.ports import CaseStore, Correlation, Due, OrderNumber, Outgoing, Record, StudyState, Told
from streams.case_state import Answer, Policy, answer, current, tell
from streams.emission import emit_value
from streams.linking import LinkedOrder, accessions_of, linked_orders, numbers_of, reference_of
from streams.topics import ORDERS, REQUESTS, REQUESTS_STAT, RESULTS, STUDIES

#: the timer of a study that waits for its order
ORDER_AWAITED = "order-awaited"

_ORDERS: dict[str, type[OrderEvent]] = {kind.TYPE: kind for kind in (OrderPlaced, OrderChanged, OrderCancelled)}
_TOPICS = {topic.name: topic for topic in (REQUESTS, REQUESTS_STAT, RESULTS)}
_E = TypeVar("_E", OrderEvent, StudyCompleted)


class _MoreLocks(Exception):
    """What was read shows that other cases are concerned too."""

    def __init__(self, cases: frozenset[str]) -> None:
        self.cases = cases


async def correlate(record: Record, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """One record of `imaging.orders` or `imaging.studies`. Raises MalformedMessage, UnsupportedMessage, MissingIdentifier,
    StoreUnavailable."""
    kind = record.header("ce_type") or ""
    if record.place.topic == ORDERS.name and kind in _ORDERS:
        return await _order(_parsed(_ORDERS[kind], record), record, cases, policy)
    if record.place.topic == STUDIES.name and kind == StudyCompleted.TYPE:
        return await _study(_parsed(StudyCompleted, record), record, cases, policy)
    raise UnsupportedMessage("correlate", str(record.place), "neither an order nor a completed study of a version known here")


async def order_wait_over(due: Due, *, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    """The timer of a study that waited for its order. Raises StoreUnavailable."""
    uid = StudyInstanceUID(due.case)

    async def work(rows: Correlation, locked: frozenset[str]) -> Sequence[Outgoing]:
        state = await rows.study(uid)
        if state is None:
            return ()
        _cover(locked, _cases_of(state))
        return await _told(rows, state, due.not_before, None, policy, now=due.not_before)

    return await _serialised(cases, frozenset({_study_case(uid)}), work)


async def _order(order: OrderEvent, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    try:
        told = reference_of(order)
    except ValueError:
        raise MissingIdentifier("correlate", str(record.place), "an order without any number") from None

    async def work(rows: Correlation, locked: frozenset[str]) -> Sequence[Outgoing]:
        await rows.put_order(order)
        events, numbers = await _connected(rows, numbers_of([told]), order.accession_number)
        _cover(locked, _order_cases(numbers))
        outputs: list[Outgoing] = []
        for accession in accessions_of(events, order):
            for state in await rows.studies_of(accession):
                if current(state).accession_number == accession:
                    outputs += await _told(rows, state, order.time, record, policy)
        return outputs

    return await _serialised(cases, _order_cases(numbers_of([told])), work)


async def _study(completed: StudyCompleted, record: Record, cases: CaseStore, policy: Policy) -> Sequence[Outgoing]:
    async def work(rows: Correlation, locked: frozenset[str]) -> Sequence[Outgoing]:
        await rows.put_study(completed)
        state = await rows.study(completed.study_instance_uid)
        assert state is not None
        _cover(locked, _cases_of(state))
        return await _told(rows, state, completed.time, record, policy)

    return await _serialised(cases, _cases_of(StudyState((completed,))), work)


async def _told(
    rows: Correlation,
    state: StudyState,
    triggered_at: datetime,
    cause: Record | None,
    policy: Policy,
    now: datetime | None = None,
) -> Sequence[Outgoing]:
    """Tell the state of a study, or let it wait for its order; `now` is when a timer fired."""
    study = current(state)
    orders = await _orders_of(rows, study.accession_number)
    said = answer(study, orders, policy)
    timer = _timer(study, policy)
    if not orders and not _wait_is_over(said, state, timer, now):
        await rows.put_due(timer)
        return ()
    if cause is not None:  # a timer that fired is removed by the sweeper, after the outputs are on the log
        for event in state.events:
            await rows.remove_due(_timer(event, policy).id)
    told = tell(study, said, state.told, triggered_at, policy)
    if told is not state.told:
        await rows.put_told(study.study_instance_uid, told)
    return (_outgoing(told, cause),)


def _wait_is_over(said: Answer, state: StudyState, timer: Due, now: datetime | None) -> bool:
    """The timer fired, or it did earlier and this was told then."""
    told_already = state.told is not None and state.told.identity == said.digest
    return told_already or (now is not None and now >= timer.not_before)


def _timer(study: StudyCompleted, policy: Policy) -> Due:
    """One per event and moment: the sweeper that removes a timer which has fired never removes one set since."""
    not_before = study.time + policy.order_wait
    uid = study.study_instance_uid
    id = identity(ORDER_AWAITED, uid, str(study.id), study.revision, not_before.isoformat())
    return Due(id=id, reason=ORDER_AWAITED, case=uid, not_before=not_before)


def _outgoing(told: Told, cause: Record | None) -> Outgoing:
    """Exactly the told bytes, as a record."""
    topic = _TOPICS[told.topic]
    if topic is RESULTS:
        findings = Findings.model_validate_json(told.value)
        subject, id, kind = findings.subject, findings.analysis_id, FINDINGS_TYPE
    else:
        request = AnalysisRequested.model_validate_json(told.value)
        subject, id, kind = request.subject, request.id, request.TYPE
    key, time = subject.study_instance_uid, subject.triggered_at
    return emit_value(topic, key, told.value, id=id, type=kind, time=time, cause=cause)


async def _orders_of(rows: Correlation, accession: AccessionNumber | None) -> Sequence[LinkedOrder]:
    if accession is None:
        return ()
    events, _ = await _connected(rows, frozenset({accession}), accession)
    return linked_orders(events, accession)


async def _connected(
    rows: Correlation, numbers: frozenset[OrderNumber], accession: AccessionNumber | None
) -> tuple[Sequence[OrderEvent], frozenset[OrderNumber]]:
    """All order events that hang together by these numbers, however many steps away, and all their numbers."""
    while True:
        events = await rows.orders_sharing(numbers, accession)
        found = numbers | numbers_of(map(reference_of, events))
        if found == numbers:
            return events, numbers
        numbers = found


_Work = Callable[[Correlation, frozenset[str]], Awaitable[Sequence[Outgoing]]]


async def _serialised(cases: CaseStore, locks: frozenset[str], work: _Work) -> Sequence[Outgoing]:
    """Rule 3. Which cases a record concerns is known only after reading under a lock; where it turns out to be more, the
    transaction is rolled back and begun again with all of them. The set only grows, so this ends."""
    while True:
        try:
            async with cases.correlation(*sorted(locks)) as rows:
                return await work(rows, locks)
        except _MoreLocks as more:
            locks |= more.cases


def _cover(locked: frozenset[str], needed: frozenset[str]) -> None:
    if not needed <= locked:
        raise _MoreLocks(needed)


def _cases_of(state: StudyState) -> frozenset[str]:
    """A study is locked with every accession number it ever carried: so everything that tells it is serialised."""
    accessions = [event.accession_number for event in state.events if event.accession_number is not None]
    return _order_cases(frozenset(accessions)) | {_study_case(state.events[0].study_instance_uid)}


def _order_cases(numbers: frozenset[OrderNumber]) -> frozenset[str]:
    return frozenset(f"{type(number).__name__} {number}" for number in numbers)


def _study_case(study: StudyInstanceUID) -> str:
    return f"{StudyInstanceUID.__name__} {study}"


def _parsed(kind: type[_E], record: Record) -> _E:
    try:
        return kind.model_validate_json(record.value)
    except ValidationError:
        raise MalformedMessage("correlate", str(record.place), f"not a {kind.TYPE}") from None
