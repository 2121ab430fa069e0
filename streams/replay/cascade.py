"""What would happen now with what came then: one record after the other, each at its own time, through the steps of the engine.

A simulation in the time of the events. Before a record is handled, everything that was due before it happens: timers fire, and
answers come when they came then. What a step writes is handled at once by those that read it; so nothing depends on how fast
anything is, and two runs say the same in the same order."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import structlog

from schemas.case_store import Due
from schemas.errors import Unavailable
from schemas.ports import Outgoing, Place, Record, Step
from streams.due import MAX_ATTEMPTS, Timer, park_delay
from streams.guard import Guard, Outcome, StepStopped
from streams.replay.answered import question_of
from streams.replay.clock import EventClock
from streams.replay.outbox import Outbox
from streams.replay.timer_letter import timer_letter
from streams.shadows.shadow import NothingDue, giving_up
from streams.topics import Topic, plain_name

_log = structlog.get_logger(__name__)

#: when there is nothing due
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


#: the same records would stop it again, for ever
_WITHOUT_IT = "Begin one of another name without that record (a narrower selection), or behind the step (--start)"


class StopAsked(Exception):
    """A dependency is away, and nobody wants to wait for it: what was begun is not finished, the last snapshot counts."""


class DueWork(Protocol):
    """The three things that a cascade needs of a CaseStore: its timers."""

    async def due_before(self, moment: datetime, limit: int = 100, /) -> Sequence[Due]: ...

    async def put_due(self, due: Due, /) -> None: ...

    async def remove_due(self, due_id: UUID, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A step and what it reads. `answers`: each of its outputs is an answer, which came when the same one came then. `sets_timers`:
    it may set and remove them."""

    name: str
    step: Step
    reads: tuple[Topic, ...]
    answers: bool = False
    sets_timers: bool = False


@dataclass(order=True, slots=True)
class Coming:
    """An answer that is still to come. `number` keeps the order of those that come at one moment."""

    at: datetime
    number: int
    out: Outgoing = field(compare=False)


class Cascade:
    """`parts`: the steps, in the order in which those of one topic are run. `answered`: when the answer of this id, or to this
    question, came then. `coming`, `number`, `unexpected` (exceptions in a row, by the name of a part): of a run that goes on."""

    def __init__(
        self,
        parts: Iterable[Part],
        outbox: Outbox,
        clock: EventClock,
        stop: asyncio.Event,
        *,
        timers: Mapping[str, Timer],
        due: DueWork,
        answered: Mapping[str, datetime],
        coming: Iterable[Coming] = (),
        number: int = 0,
        unexpected: Mapping[str, int] | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._timers = timers
        self._due = due
        self._answered = answered
        self.coming = list(coming)
        heapq.heapify(self.coming)
        self.number = number
        self._readers: dict[str, list[_Guarded]] = {}
        self._guarded: list[_Guarded] = []
        for part in parts:
            guarded = _Guarded(part, clock, stop, (unexpected or {}).get(part.name, 0))
            self._guarded.append(guarded)
            for topic in part.reads:
                self._readers.setdefault(topic.name, []).append(guarded)
        #: when the next timer is due, None: nobody knows (a step may have set or removed one)
        self._next: datetime | None = None

    @property
    def unexpected(self) -> Mapping[str, int]:
        """Exceptions in a row, of each part that had one."""
        return {guarded.part.name: guarded.unexpected for guarded in self._guarded if guarded.unexpected}

    async def take(self, record: Record) -> None:
        """The next of the inputs, after all that was due before it. Raises StopAsked; StepStopped, StoreUnavailable; and as
        `Outbox.flush`."""
        try:
            await self._until(record.timestamp)
            self._clock.advance(record.timestamp)
            await self._handle(record)
        except StepStopped as error:
            raise StepStopped(
                error.step, error.reference, f"{error.reason}; it came to it at {record.place}. {_WITHOUT_IT}"
            ) from error

    async def go_on(self) -> bool:
        """What is due next, after the last input; False: nothing is. Raises as `take`."""
        moment = min([await self._next_due(), *(one.at for one in self.coming[:1])])
        await self._until(moment)
        return moment != _NEVER

    async def _until(self, moment: datetime) -> None:
        """An answer before a timer of the same moment: it came in time."""
        while True:
            coming = self.coming[0].at if self.coming else None
            due = await self._next_due()
            if coming is not None and coming <= min(moment, due):
                answer = heapq.heappop(self.coming)
                self._clock.advance(answer.at)
                await self._cascade([answer.out])
            elif due <= moment and due != _NEVER:
                await self._fire()
            else:
                return

    async def _next_due(self) -> datetime:
        if self._next is None:
            found = await self._due.due_before(_NEVER, 1) if self._timers else ()
            self._next = found[0].not_before if found else _NEVER
        return self._next

    async def _fire(self) -> None:
        """An error puts it off, as it does live, and ends nothing; but time goes on here until nothing is due, so not for ever."""
        (due,) = await self._due.due_before(_NEVER, 1)
        now = self._clock.advance(due.not_before)
        self._next = None
        try:
            outputs = await self._timers[due.reason](due, now)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad timer never blocks the line (rule 6)
            attempts = due.attempts + 1
            _log.error("due-failed", due=str(due.id), reason=due.reason, error=type(error).__name__, attempts=attempts)
            if attempts < MAX_ATTEMPTS:
                await self._due.put_due(replace(due, attempts=attempts, not_before=now + park_delay(attempts)))
                return
            outputs = [timer_letter(due, error, attempts, now)]
        await self._cascade(outputs)
        await self._due.remove_due(due.id)
        self._next = None

    async def _handle(self, record: Record) -> None:
        waiting = deque([record])
        while waiting:
            record = waiting.popleft()
            for reader in self._readers.get(plain_name(record.place.topic), ()):
                outputs = await reader(record)
                if reader.part.sets_timers:
                    self._next = None
                if reader.part.answers:
                    outputs = [out for out in outputs if not self._comes_later(out)]
                waiting.extend(await self._put(outputs))

    async def _cascade(self, outputs: Sequence[Outgoing]) -> None:
        for record in await self._put(outputs):
            await self._handle(record)

    async def _put(self, outputs: Sequence[Outgoing]) -> list[Record]:
        """As those that read it will see it: at the time of the event, and not when the broker took it."""
        placed = self._outbox.put(outputs)
        if self._outbox.is_full:
            await self._outbox.flush()
        return [_record(out, place, self._clock.now()) for out, place in placed]

    def _comes_later(self, out: Outgoing) -> bool:
        if not self._answered:
            return False
        at = self._answered.get(question_of(out.value)) or self._answered.get(id_of(out))
        if at is None or at <= self._clock.now():
            return False
        heapq.heappush(self.coming, Coming(at, self.number, out))
        self.number += 1
        return True


def id_of(out: Outgoing) -> str:
    """Its ce_id."""
    return next((value.decode("utf-8", "replace") for name, value in reversed(out.headers) if name == "ce_id"), "")


class _Guarded:
    """A step behind the guard that the engine has before it: what is never acceptable is a dead letter, a broken step stops."""

    def __init__(self, part: Part, clock: EventClock, stop: asyncio.Event, unexpected: int = 0) -> None:
        self.part = part
        self._written: list[Outgoing] = []
        self._guard = Guard(part.name, giving_up(part.step, "a replay"), self, NothingDue(), clock, stop)
        self._guard.unexpected = unexpected

    @property
    def unexpected(self) -> int:
        return self._guard.unexpected

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        """What it writes, or its dead letter. Raises StepStopped, StopAsked."""
        self._written = []
        if await self._guard(record) is Outcome.UNFINISHED:
            raise StopAsked
        return self._written

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        """For the guard: nothing leaves before the outbox is flushed."""
        self._written += records
        return ()

    def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        raise AssertionError(f"a guard does not read, nor {topic}")


def _record(out: Outgoing, place: Place, at: datetime) -> Record:
    return Record(place, out.key, out.value, out.headers, at)
