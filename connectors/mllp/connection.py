"""One connection of the listener: it stores what waits in one go, in order, and answers in order; what comes meanwhile waits
for the next go. Nothing is acknowledged before it is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from connectors.mllp.framing import Frame, FrameDecoder, Garbage
from connectors.mllp.received import Received, answer, received
from schemas.ports import Clock

#: how long an end block waits for its carriage return
_CARRIAGE_RETURN_WAIT_S = 0.5

Stored = Callable[[Sequence[Received], float], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Limits:
    """`frame`: largest message in bytes. `waiting` messages or `waiting_bytes` unanswered on one connection stop its
    reading. `storing_s`: seconds from receipt until AE. `batch`: most messages stored in one go."""

    frame: int = 20 * 1024 * 1024
    waiting: int = 1000
    waiting_bytes: int = 32 * 1024 * 1024
    storing_s: float = 5.0
    batch: int = 500


class Connection(asyncio.Protocol):
    """`stored` says whether a batch, whose first message came at a given loop time, is safe. The connection is one of
    `connections` as long as it has anything to do."""

    def __init__(self, stored: Stored, clock: Clock, limits: Limits, connections: set[Connection]) -> None:
        self._stored = stored
        self._clock = clock
        self._limits = limits
        self._connections = connections
        self._decoder = FrameDecoder(limits.frame)
        self._waiting: deque[tuple[Received, float]] = deque()
        self._waiting_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._late_end: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self._loop = asyncio.get_running_loop()

    # ------------------------------------------------------------------------------------------- what asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("gone", 0)  # it may have left before we looked
        self._peer = f"{host}:{port}"
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._late_end is not None:
            self._late_end.cancel()
            self._late_end = None
        self._take(self._decoder.feed(data))
        if self._decoder.awaits_carriage_return:
            self._late_end = self._loop.call_later(_CARRIAGE_RETURN_WAIT_S, self._end_frame)

    def eof_received(self) -> bool:
        """The peer writes no more but may still read: keep the transport until everything is answered."""
        self._end_frame()
        self._ending = True
        if self._worker is None:
            self._transport.close()
        return True

    def connection_lost(self, exception: Exception | None) -> None:
        """What was received whole is stored all the same; the sender, without an answer, sends it again: harmless."""
        self._end_frame()
        self._writable.set()
        self._ending = True
        if self._worker is None:
            self._connections.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ----------------------------------------------------------------------------------------------------- our own part

    def _end_frame(self) -> None:
        self._late_end = None
        self._take(self._decoder.close())

    def _take(self, items: Sequence[Frame | Garbage]) -> None:
        now = self._clock.now()
        for item in items:
            self._waiting.append((received(item, self._peer, now), self._loop.time()))
            self._waiting_bytes += len(item.content)
        if self._full and not self._transport.is_closing():
            self._transport.pause_reading()
        if self._waiting and self._worker is None:
            self._worker = self._loop.create_task(self._work())

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self._limits.waiting or self._waiting_bytes >= self._limits.waiting_bytes

    async def _work(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, self._limits.batch))
            stored = await self._stored([one for one, _ in batch], batch[0][1])
            await self._writable.wait()
            for one, _ in batch:
                self._waiting.popleft()
                self._waiting_bytes -= len(one.content)
            if not self._transport.is_closing():
                self._transport.write(b"".join(answer(one, stored) for one, _ in batch if one.answered))
                if not (self._full or self._ending):
                    self._transport.resume_reading()
        self._worker = None
        if self._ending:
            self._transport.close()
            self._connections.discard(self)

    async def stop(self) -> None:
        """Answers what is here, then closes. A frame that is not whole is not answered, so its sender keeps it."""
        if self._late_end is not None:
            self._late_end.cancel()
        self._decoder = FrameDecoder(self._limits.frame)
        self._ending = True
        if self._worker is None:
            self._transport.close()
            return
        self._transport.pause_reading()
        await asyncio.wait([self._worker])

    async def abort(self) -> None:
        self._transport.abort()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
