"""Runs a step on one record to one of five outcomes: done, parked, dead letter, pause, stop.

The only place that reads the error tree (rule 6). What it promises to the runner: when it returns DONE, PARKED or
DEAD_LETTER, everything the record owes is stored and confirmed, and its offset may be committed; else it may not.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

import structlog

from schemas.case_store import Due
from schemas.errors import ModelFailed, NotYet, RadstreamError, Refused, Rejected, Unavailable
from schemas.ports import Clock, EventLog, Outgoing, Record, Step
from streams.dead_letter import dead_letter
from streams.due import MAX_ATTEMPTS, PARKED_BY, attempts_of, park

logger = structlog.get_logger()
T = TypeVar("T")

#: Rule 6: so many unexpected exceptions in a row are no bad records but a broken step.
UNEXPECTED_IN_A_ROW = 5


class Outcome(StrEnum):
    """What became of a record."""

    DONE = "done"
    PARKED = "parked"
    DEAD_LETTER = "dead-letter"
    #: stop was asked during a pause: not finished, not to be committed
    UNFINISHED = "unfinished"


class StepStopped(RadstreamError):
    """The step is broken: its process ends with an error and without committing this record."""


class DueStore(Protocol):
    """The one thing the guard needs of a CaseStore."""

    async def put_due(self, due: Due, /) -> None: ...


class _StopAsked(Exception):
    pass


def _ignore(state: str, reason: str = "") -> None:
    """Health of a guard that nobody watches."""


Refusal = Callable[[Record, Exception], Sequence[Outgoing]]


def tell_nobody(record: Record, error: Exception) -> Sequence[Outgoing]:
    """A Refusal for steps whose records have no sender who waits."""
    return []


class Guard:
    """Callable on one record at a time or several at once; `stop` ends a pause.

    `health` is told "paused" with a reason when a dependency is down and "ready" when it is back (see streams.health).
    `refusal` says what is written together with a dead letter: what the sender of the record is told.
    Pauses grow from `first_pause_s` to `longest_pause_s`, in seconds."""

    def __init__(
        self,
        name: str,
        step: Step,
        log: EventLog,
        cases: DueStore,
        clock: Clock,
        stop: asyncio.Event,
        *,
        health: Callable[[str, str], None] = _ignore,
        refusal: Refusal = tell_nobody,
        first_pause_s: float = 0.2,
        longest_pause_s: float = 10.0,
    ) -> None:
        self.name = name
        self._step = step
        self._log = log
        self._cases = cases
        self._clock = clock
        self._stop = stop
        self._health = health
        self._refusal = refusal
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        #: unexpected exceptions in a row so far; whoever begins anew where another guard stood may say how many it had
        self.unexpected = 0
        self._paused = 0

    async def __call__(self, record: Record) -> Outcome:
        """Raises StepStopped and nothing else (but CancelledError)."""
        if record.header(PARKED_BY) not in (None, self.name):
            return Outcome.DONE  # parked by another reader of the topic, for itself alone
        try:
            return await self._run(record)
        except _StopAsked:
            return Outcome.UNFINISHED
        except StepStopped:
            raise
        except Exception as error:  # noqa: BLE001 - neither done nor put aside: nothing may be committed
            kind = type(error).__name__
            logger.critical("step stopped", step=self.name, place=str(record.place), error=kind, at=_where(error))
            raise StepStopped(self.name, str(record.place), f"the record could not be put aside: {kind}") from None

    async def _run(self, record: Record) -> Outcome:
        try:
            outputs = await self._available(record, lambda: self._step(record))
            # effects are committed, now the outputs, then (by the runner) the offset: rule 2
            await self._available(record, lambda: self._log.append(outputs))
        except _StopAsked:
            raise
        except NotYet as error:
            self.unexpected = 0
            return await self._park(record, error)
        except (Rejected, Refused, ModelFailed) as error:
            self.unexpected = 0
            return await self._dead_letter(record, error, reason=f"{error.reference}: {error.reason}")
        except Exception as error:  # noqa: BLE001 - rule 6: whatever else it is, it must not block the line
            return await self._unexpected_error(record, error)
        self.unexpected = 0
        return Outcome.DONE

    async def _park(self, record: Record, error: NotYet) -> Outcome:
        attempts = attempts_of(record) + 1
        if attempts >= MAX_ATTEMPTS:
            return await self._dead_letter(record, error, reason=f"{error.reference}: {error.reason}")
        due = park(record, self.name, error, attempts, self._clock.now())
        await self._available(record, lambda: self._cases.put_due(due))
        logger.info("parked", step=self.name, place=str(record.place), error=type(error).__name__, attempts=attempts)
        return Outcome.PARKED

    async def _dead_letter(self, record: Record, error: Exception, reason: str) -> Outcome:
        letter = dead_letter(record, self.name, error, attempts_of(record) + 1)
        told = self._refusal(record, error)
        await self._available(record, lambda: self._log.append([letter, *told]))
        logger.error("dead letter", step=self.name, place=str(record.place), error=type(error).__name__, reason=reason)
        return Outcome.DEAD_LETTER

    async def _unexpected_error(self, record: Record, error: Exception) -> Outcome:
        self.unexpected += 1
        where = _where(error)  # its text may quote a message: it is not logged
        if self.unexpected >= UNEXPECTED_IN_A_ROW:
            logger.critical("step stopped", step=self.name, place=str(record.place), error=type(error).__name__, at=where)
            raise StepStopped(
                self.name, str(record.place), f"{self.unexpected} unexpected exceptions in a row, now {type(error).__name__}"
            ) from None
        return await self._dead_letter(record, error, reason=where)

    async def _available(self, record: Record, action: Callable[[], Awaitable[T]]) -> T:
        """The result of `action`, tried again through every Unavailable until it is there or stop is asked."""
        pause, paused = self._first_pause_s, False
        try:
            while True:
                try:
                    return await action()
                except Unavailable as error:
                    logger.warning("paused", step=self.name, place=str(record.place), error=str(error), pause_s=round(pause, 1))
                    if not paused:
                        paused, self._paused = True, self._paused + 1
                    self._health("paused", str(error))
                if await self._stopped_within(pause):
                    raise _StopAsked
                pause = min(pause * 2, self._longest_pause_s)
        finally:
            if paused:
                self._paused -= 1
                if self._paused == 0:
                    self._health("ready", "")

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
