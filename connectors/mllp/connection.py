"""One connection of the listener: what waits is stored in order and answered in order. Nothing is acknowledged before it is
stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from connectors.mllp.dialogue import Converse, Received
from connectors.mllp.framing import Frame, FrameDecoder, Garbage
from connectors.mllp.gathering import Gathering
from schemas.ports import Clock

log = structlog.get_logger()

#: how long a peer that has all its answers may take to close, when we stop
_LINGER_S = 2.0
#: how long an end block waits for its carriage return
_CARRIAGE_RETURN_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """`frame`: largest message in bytes. `waiting` messages or `waiting_bytes` unanswered on one connection stop its
    reading. `storing_s`: seconds from receipt until AE; `frame_s`: from the first byte of a frame to its last; `idle_s`: without
    a byte until the connection is closed, None: never."""

    frame: int = 20 * 1024 * 1024
    waiting: int = 1000
    waiting_bytes: int = 32 * 1024 * 1024
    storing_s: float = 5.0
    frame_s: float = 30.0
    idle_s: float | None = None


class Connection(asyncio.Protocol):
    """The connection is one of `connections` as long as it has anything to do."""

    def __init__(
        self, converse: Converse, gathering: Gathering, clock: Clock, limits: Limits, connections: set[Connection]
    ) -> None:
        self._converse = converse
        self._gathering = gathering
        self._clock = clock
        self._limits = limits
        self._connections = connections
        self._decoder = FrameDecoder(limits.frame)
        self._waiting: deque[tuple[Received, float]] = deque()
        self._waiting_bytes = 0
        self._lot: list[Received] = []
        self._lot_bytes = 0
        self._late_end: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._holds = False
        self._reading = True
        self._writable = True
        self._unwritten: list[bytes] = []
        self._ending = False
        self._lingers = False
        self._leaving = False
        self._closing: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    # ------------------------------------------------------------------------------------------- what asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("gone", 0)  # it may have left before we looked
        self.peer = f"{host}:{port}"
        self._dialogue = self._converse(self.peer, self._write)
        self._connections.add(self)
        self._since = self._loop.time()
        self._look_at(self._since)

    def data_received(self, data: bytes) -> None:
        if self._leaving:
            return
        if self._late_end is not None:
            self._late_end.cancel()
            self._late_end = None
        items = self._decoder.feed(data)
        if items or not self._holds:
            self._since = self._loop.time()
        self._holds = self._decoder.waiting > 0
        self._take(items)
        if self._decoder.awaits_carriage_return:
            self._late_end = self._loop.call_later(_CARRIAGE_RETURN_WAIT_S, self._end_frame)

    def eof_received(self) -> bool:
        """The peer writes no more but may still read: keep the transport until everything is answered."""
        if self._leaving:
            return False
        self._end_frame()
        self._end()
        return self._transport.get_extra_info("sslcontext") is None  # TLS is closed for both sides at once

    def connection_lost(self, exception: Exception | None) -> None:
        """What was received whole is stored all the same; the sender, without an answer, sends it again: harmless."""
        if self._leaving:
            self._close()
            return
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
        self.go_on()

    # ----------------------------------------------------------------------------------------- what the gathering asks

    @property
    def oldest(self) -> float:
        return self._waiting[0][1]

    def lot(self, messages: int, size: int) -> tuple[Sequence[Received], int]:
        taken = 0
        for one, _ in self._waiting:
            more = taken + len(one.content)
            if self._lot and (len(self._lot) >= messages or more > size):
                break
            self._lot.append(one)
            taken = more
        self._lot_bytes = taken
        return self._lot, taken

    def settled(self, stored: bool) -> None:
        lot, self._lot = self._lot, []
        for _ in lot:
            self._waiting.popleft()
        self._waiting_bytes -= self._lot_bytes
        self._gathering.release(len(lot), self._lot_bytes)
        self._write(b"".join([self._dialogue.answer(one, stored) for one in lot]))
        self.go_on()

    # ----------------------------------------------------------------------------------------------------- our own part

    def _write(self, answers: bytes) -> None:
        if self._transport.is_closing() or not answers:
            return
        if self._writable:
            self._transport.write(answers)
        else:
            self._unwritten.append(answers)

    def _end_frame(self) -> None:
        self._late_end = None
        self._holds = False
        self._take(self._decoder.close())

    def _take(self, items: Sequence[Frame | Garbage]) -> None:
        if not items:
            return
        at, now = self._clock.now(), self._loop.time()
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # under load many messages share it, and what is made of it
        count, size = len(self._waiting), self._waiting_bytes
        for item in items:
            for one in self._dialogue.received(item, self.peer, at):
                self._waiting.append((one, now))
                self._waiting_bytes += len(one.content)
        self._gathering.hold(len(self._waiting) - count, self._waiting_bytes - size)
        if self._full or self._gathering.full:
            self._read_no_more()
        self._announce()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= self._limits.waiting or self._waiting_bytes >= self._limits.waiting_bytes

    def _announce(self) -> None:
        if self._waiting and not self._lot and not self._unwritten:
            self._gathering.announce(self)

    def go_on(self) -> None:
        """A peer that does not read its answers is neither stored for nor read from."""
        if not (self._full or self._ending or self._reading or self._unwritten or self._transport.is_closing()):
            if self._gathering.full:
                self._gathering.stopped(self)
            else:
                self._reading = True
                self._since = self._loop.time()  # what stood still meanwhile was not the peer's fault
                self._transport.resume_reading()
        self._announce()
        self._end_when_done()

    def _end(self) -> None:
        self._ending = True
        self._end_when_done()

    def _end_when_done(self) -> None:
        if self._ending and not (self._waiting or self._unwritten or self._leaving):
            if self._lingers and not self._transport.is_closing() and self._transport.can_write_eof():
                self._linger()
            else:
                self._close()

    def _linger(self) -> None:
        """A socket that is closed with bytes unread is reset, and the last answers are lost on their way: so the peer hears that
        there will be no more, and what it sends until it closes is passed over. It was not answered; its sender keeps it."""
        self._leaving = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._closing = self._loop.call_later(_LINGER_S, self._close)

    def _close(self) -> None:
        self._transport.close()
        self._gone()
        self._done.set()

    def _gone(self) -> None:
        self._gathering.forget(self)
        self._connections.discard(self)
        self._dialogue.close()
        for timer in (self._late_end, self._watch, self._closing):
            if timer is not None:
                timer.cancel()

    # ------------------------------------------------------------------------------------------------------- time-outs

    def _look_at(self, now: float) -> None:
        """`_since`: when what is held began to come, else when the last byte came. Looked at once in `frame_s` at least, so
        that nothing is to be done for each message, and no frame begins and lasts too long between two looks."""
        limit = self._limits.frame_s if self._holds else self._limits.idle_s
        at_rest = self._reading and (self._holds or not self._waiting)
        left = self._since + limit - now if limit is not None and at_rest else self._limits.frame_s
        if left > 0:
            self._watch = self._loop.call_later(min(left, self._limits.frame_s), self._look)
        else:
            self._time_out()

    def _look(self) -> None:
        if not self._ending:
            self._look_at(self._loop.time())

    def _time_out(self) -> None:
        held = self._decoder.close()
        if self._holds and not held:  # blanks between two frames
            self._holds = False
            self._look()
            return
        if held:
            log.warning("a frame did not end in time, the connection is closed", peer=self.peer, seconds=self._limits.frame_s)
        else:
            log.info("an idle connection is closed", peer=self.peer, seconds=self._limits.idle_s)
        self._take(held)
        self._read_no_more()
        self._end()

    def _read_no_more(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    async def stop(self) -> None:
        """Answers what is here, then closes. A frame that is not whole is not answered, so its sender keeps it."""
        if self._late_end is not None:
            self._late_end.cancel()
        self._decoder = FrameDecoder(self._limits.frame)
        self._read_no_more()
        self._lingers = True
        self._end()
        await self._done.wait()

    def abort(self) -> None:
        self._transport.abort()
        self._gone()
        self._announce()  # what was received whole is stored all the same
