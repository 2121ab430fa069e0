"""Durable time (rule 5): work that is tried again later, and timers. Effects, then outputs, then removal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from schemas.case_store import CaseStore, Due
from schemas.errors import NotYet, RadstreamError, Unavailable
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Outgoing, Record

#: does what a timer waited for; the second argument: when it fired
Timer = Callable[[Due, datetime], Awaitable[Sequence[Outgoing]]]

#: headers of a record that was parked: how often it was tried so far, and where it stood first
ATTEMPTS = "attempts"
PARKED_FROM = "parked-from"
#: the step that parked it: the record stands on a topic of several readers, and the others have had it
PARKED_BY = "parked-by"

#: tries of one record before the guard makes it a dead letter: over an hour with the delays below
MAX_ATTEMPTS = 15
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=10)
#: items of one sweep
LIMIT = 100

_log = structlog.get_logger(__name__)


def attempts_of(record: Record) -> int:
    """How often the record was tried before this time; a foreign producer may have written anything into the header."""
    said = record.header(ATTEMPTS) or ""
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0


def origin_of(record: Record) -> str:
    """topic/partition/offset where the record first stood, however often it was parked since."""
    return record.header(PARKED_FROM) or str(record.place)


def park_delay(attempts: int) -> timedelta:
    """How long to wait after try number `attempts` (from 1): doubled each time, with a cap."""
    return min(FIRST_DELAY * (1 << min(max(attempts, 1) - 1, 20)), LONGEST_DELAY)


def park(record: Record, step: str, error: NotYet, attempts: int, now: datetime) -> Due:
    """The record as work for later; `attempts` counts the try that just failed. Each attempt has an id of its own: the
    sweeper that removes one never removes the next, and parking the same try twice is parking it once."""
    return Due(
        id=identity("parked", step, origin_of(record), str(attempts)),
        reason=type(error).__name__,
        case=error.reference,
        not_before=now + park_delay(attempts),
        attempts=attempts,
        step=step,
        record=record,
    )


def unparked(due: Due, record: Record) -> Outgoing:
    """The parked record again, on its own topic and under its own key, knowing its attempts and its origin."""
    own = tuple((name, value) for name, value in record.headers if name not in (ATTEMPTS, PARKED_FROM, PARKED_BY))
    parked = (
        (ATTEMPTS, str(due.attempts).encode("ascii")),
        (PARKED_FROM, origin_of(record).encode("utf-8")),
        (PARKED_BY, due.step.encode("utf-8")),
    )
    return Outgoing(record.place.topic, record.key, record.value, own + parked)


async def sweep(cases: CaseStore, log: EventLog, clock: Clock, timers: Mapping[str, Timer]) -> int:
    """Do what is due, at most LIMIT items; returns how many were done. An item that fails is put off and blocks no other.
    Raises StoreUnavailable, BrokerUnavailable: then nothing is lost and a later sweep goes on."""
    done, now = 0, clock.now()
    for due in await cases.due_before(now, LIMIT):
        try:
            outputs = await _outputs(due, now, timers)
            if outputs:
                await log.append(outputs)
            await cases.remove_due(due.id)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad item never blocks the line (rule 6)
            attempts = due.attempts + 1
            await cases.put_due(replace(due, attempts=attempts, not_before=clock.now() + park_delay(attempts)))
            reason = error.reason if isinstance(error, RadstreamError) else ""
            _log.error("due-failed", due=str(due.id), reason=due.reason, error=type(error).__name__, said=reason, attempts=attempts)
        else:
            done += 1
    return done


async def run_sweeper(
    cases: CaseStore,
    log: EventLog,
    clock: Clock,
    timers: Mapping[str, Timer],
    *,
    stop: asyncio.Event,
    interval: timedelta = timedelta(seconds=1),
) -> None:
    """Sweep every `interval` until `stop`; a store or broker that is down is waited for."""
    while not stop.is_set():
        try:
            done = await sweep(cases, log, clock, timers)
        except Unavailable as error:
            _log.warning("sweep-paused", error=str(error))
            done = 0
        if done < LIMIT:
            try:
                async with asyncio.timeout(interval.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue


async def _outputs(due: Due, now: datetime, timers: Mapping[str, Timer]) -> Sequence[Outgoing]:
    """Raises LookupError for a timer nobody knows: an older or newer version set it, and it is kept."""
    if due.record is not None:
        return (unparked(due, due.record),)
    return await timers[due.reason](due, now)
