"""One replay from where it stands to its end, or to where somebody stops it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

import structlog

from schemas.errors import TopicMissing, Unavailable
from schemas.ports import Record
from streams.replay.cascade import Cascade, StopAsked
from streams.replay.clock import EventClock
from streams.replay.outbox import Outbox, Wait
from streams.replay.snapshot import Snapshots, State, Waiting

_log = structlog.get_logger(__name__)

#: a snapshot after so many inputs or seconds, but never more than a twentieth of the time is spent on them
EVERY_INPUTS, EVERY_S, _SHARE = 500, 5.0, 20
#: between two looks whether somebody asks for a pause, and between two tries while broker or object store is away
_LOOK_S, _PAUSE_S = 0.5, 1.0
#: nobody rests for less
_SHORTEST_S = 0.01
#: what a snapshot or a slow input has cost is made up for, but no more than this: live work wants the same cores
_MADE_UP_S = 0.25


class Pace:
    """`rate`: inputs in a second on average, None: as fast as it can."""

    def __init__(self, rate: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._rate = rate
        self._free_at = monotonic()

    def ahead(self) -> float:
        """After one more input: seconds by which the inputs are ahead of their rate, or behind it."""
        if self._rate is None:
            return 0.0
        now = self.monotonic()
        self._free_at = max(self._free_at, now - _MADE_UP_S) + 1 / self._rate
        return self._free_at - now


class Running:
    """`state`: how far the run is that goes on. `tell`: how many inputs are done."""

    def __init__(
        self,
        cascade: Cascade,
        outbox: Outbox,
        clock: EventClock,
        snapshots: Snapshots,
        state: State,
        *,
        pace: Pace,
        stop: asyncio.Event,
        tell: Callable[[int], None],
        every_inputs: int = EVERY_INPUTS,
    ) -> None:
        self._cascade = cascade
        self._outbox = outbox
        self._clock = clock
        self._snapshots = snapshots
        self._stop = stop
        self._tell = tell
        self._every_inputs = every_inputs
        self._pace = pace
        self._monotonic = pace.monotonic
        self._done = state.done
        self._positions = dict(state.positions)
        self._since_kept, self._kept_at, self._cost_s = 0, self._monotonic(), 0.0
        self._breathed_at = self._monotonic()

    @property
    def done(self) -> int:
        """Inputs that were handled."""
        return self._done

    async def run(self, inputs: AsyncIterator[Record]) -> bool:
        """False: somebody asked for a pause, and what is done is kept. Raises as `Cascade.take` and `Snapshots.keep`; then the last
        snapshot counts."""
        try:
            return await self._to_the_end(inputs)
        except StopAsked:
            return False
        finally:
            if isinstance(inputs, AsyncGenerator):
                await inputs.aclose()

    async def _to_the_end(self, inputs: AsyncIterator[Record]) -> bool:
        async for record in inputs:
            if self._stop.is_set():
                await self._keep()
                return False
            await self._cascade.take(record)
            self._positions[f"{record.place.topic}/{record.place.partition}"] = record.place.offset + 1
            self._done += 1
            self._tell(self._done)
            await self._at_times()
        while await self._cascade.go_on():
            if self._stop.is_set():
                await self._keep()
                return False
            await self._at_times()
        await self._keep()
        return True

    async def _at_times(self) -> None:
        """A snapshot when one is due, and rest where there is a rate; live work that waits for this thread is let through."""
        self._since_kept += 1
        now = self._monotonic()
        elapsed = now - self._kept_at
        if elapsed >= _SHARE * self._cost_s and (self._since_kept >= self._every_inputs or elapsed >= EVERY_S):
            await self._keep()
        ahead = self._pace.ahead()
        if ahead > _SHORTEST_S:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), ahead)
        elif now - self._breathed_at >= _SHORTEST_S:  # not for each input: a look at the sockets costs as much as a short message
            self._breathed_at = now
            await asyncio.sleep(0)

    async def _keep(self) -> None:
        began = self._monotonic()
        await self._outbox.flush()
        state = State(
            done=self._done,
            positions=self._positions,
            now=self._clock.now(),
            put=self._outbox.put_so_far,
            coming=tuple(Waiting.of(coming) for coming in self._cascade.coming),
            number=self._cascade.number,
            unexpected=self._cascade.unexpected,
        )
        await self._snapshots.keep(state)
        self._kept_at = self._monotonic()
        self._since_kept, self._cost_s = 0, self._kept_at - began


async def until_pause_is_asked(pause_is_asked: Callable[[], bool], stop: asyncio.Event) -> None:
    """By another process; then `stop` is set. To be run beside a replay, so that it is heard also while something is waited for."""
    while not pause_is_asked():
        await asyncio.sleep(_LOOK_S)  # a file that somebody makes gives no event
    stop.set()


def waiting(stop: asyncio.Event, pause_s: float = _PAUSE_S) -> Wait:
    """For an Outbox, or inputs, whose broker or object store (of segments) is away."""

    async def wait(error: Unavailable) -> None:
        """Raises StopAsked; TopicMissing, which does not come back by itself."""
        if isinstance(error, TopicMissing):
            raise error
        _log.warning("paused", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)
        if stop.is_set():
            raise StopAsked

    return wait


async def patient(
    inputs: Callable[[Mapping[tuple[str, int], int]], AsyncGenerator[Record]], done: Mapping[tuple[str, int], int], wait: Wait
) -> AsyncGenerator[Record]:
    """`inputs(done)`; while what holds them (broker, object store) is away they are waited for, and begun anew behind the last one.
    Raises as both."""
    positions = dict(done)
    while True:
        try:
            async with aclosing(inputs(positions)) as records:
                async for record in records:
                    positions[record.place.topic, record.place.partition] = record.place.offset + 1
                    yield record
            return
        except Unavailable as error:
            await wait(error)
