"""One connection of the listener: what waits is stored in order and answered in order. Nothing is acknowledged before it is
stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from connectors.mllp.dialogue import Dialogue, Received
from connectors.mllp.framing import Frame, FrameDecoder, Garbage
from connectors.mllp.gathering import Gathering
from schemas.ports import Clock

#: how long an end block waits for its carriage return
_CARRIAGE_RETURN_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """`frame`: largest message in bytes. `waiting` messages or `waiting_bytes` unanswered on one connection stop its
    reading. `storing_s`: seconds from receipt until AE."""

    frame: int = 20 * 1024 * 1024
    waiting: int = 1000
    waiting_bytes: int = 32 * 1024 * 1024
    storing_s: float = 5.0


class Connection(asyncio.Protocol):
    """The connection is one of `connections` as long as it has anything to do."""

    def __init__(
        self, dialogue: Dialogue, gathering: Gathering, clock: Clock, limits: Limits, connections: set[Connection]
    ) -> None:
        self._dialogue = dialogue
        self._gathering = gathering
        self._clock = clock
        self._limits = limits
        self._connections = connections
        self._decoder = FrameDecoder(limits.frame)
        self._waiting: deque[tuple[Received, float]] = deque()
        self._waiting_bytes = 0
        self._under_way = False
        self._late_end: asyncio.TimerHandle | None = None
        self._reading = True
        self._writable = True
        self._unwritten: list[bytes] = []
        self._ending = False
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # ------------------------------------------------------------------------------------------- what asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("gone", 0)  # it may have left before we looked
        self.peer = f"{host}:{port}"
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
        self._end()
        return True

    def connection_lost(self, exception: Exception | None) -> None:
        """What was received whole is stored all the same; the sender, without an answer, sends it again: harmless."""
        self._end_frame()
        self._unwritten.clear()
        self._end()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._unwritten:
            self._transport.write(b"".join(self._unwritten))
            self._unwritten.clear()
        self._go_on()

    # ----------------------------------------------------------------------------------------- what the gathering asks

    @property
    def oldest(self) -> float:
        return self._waiting[0][1]

    def lot(self, messages: int, size: int) -> Sequence[Received]:
        self._under_way = True
        lot: list[Received] = []
        for one, _ in self._waiting:
            size -= len(one.content)
            if lot and (len(lot) >= messages or size < 0):
                break
            lot.append(one)
        return lot

    def settled(self, count: int, stored: bool) -> None:
        self._under_way = False
        answers = []
        for _ in range(count):
            one, _ = self._waiting.popleft()
            self._waiting_bytes -= len(one.content)
            answers.append(self._dialogue.answer(one, stored))
        if not self._transport.is_closing():
            if self._writable:
                self._transport.write(b"".join(answers))
            else:
                self._unwritten += answers
        self._go_on()

    # ----------------------------------------------------------------------------------------------------- our own part

    def _end_frame(self) -> None:
        self._late_end = None
        self._take(self._decoder.close())

    def _take(self, items: Sequence[Frame | Garbage]) -> None:
        if not items:
            return
        at, now = self._clock.now(), self._loop.time()
        for item in items:
            for one in self._dialogue.received(item, self.peer, at):
                self._waiting.append((one, now))
                self._waiting_bytes += len(one.content)
        if self._full and self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()
        self._announce()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self._limits.waiting or self._waiting_bytes >= self._limits.waiting_bytes

    def _announce(self) -> None:
        if self._waiting and not self._under_way and not self._unwritten:
            self._gathering.announce(self)

    def _go_on(self) -> None:
        """A peer that does not read its answers is neither stored for nor read from."""
        if not (self._full or self._ending or self._reading or self._unwritten or self._transport.is_closing()):
            self._reading = True
            self._transport.resume_reading()
        self._announce()
        self._end_when_done()

    def _end(self) -> None:
        self._ending = True
        self._end_when_done()

    def _end_when_done(self) -> None:
        if self._ending and not (self._waiting or self._unwritten):
            self._transport.close()
            self._connections.discard(self)
            self._done.set()

    async def stop(self) -> None:
        """Answers what is here, then closes. A frame that is not whole is not answered, so its sender keeps it."""
        if self._late_end is not None:
            self._late_end.cancel()
        self._decoder = FrameDecoder(self._limits.frame)
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()
        self._end()
        await self._done.wait()

    def abort(self) -> None:
        self._transport.abort()
        self._connections.discard(self)
