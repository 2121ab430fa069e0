"""The MLLP listener: nothing is acknowledged before it is stored.

Each connection stores what waits in one go, in order, and answers in order; what comes meanwhile waits for the next go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import cast

import structlog

from connectors.mllp.acknowledgement import INTERNAL, NOT_HL7, TOO_LARGE, AcknowledgementCode, Condition, acknowledge
from connectors.mllp.framing import Fault, Frame, FrameDecoder, Garbage, frame
from connectors.mllp.loopback import require_loopback
from schemas.errors import MalformedMessage, SettingsInvalid, Unavailable
from schemas.hl7v2.header import Header
from schemas.ports import Clock

log = structlog.get_logger()

#: how long an end block waits for its carriage return
_CARRIAGE_RETURN_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Received:
    """What a peer sent. `header` is None and `fault` says why when it is no HL7 message; `answered`: whether the peer waits for
    an acknowledgement of it."""

    content: bytes
    peer: str
    received_at: datetime
    header: Header | None
    fault: str = ""
    condition: Condition | None = None
    answered: bool = True

    @property
    def refused(self) -> bool:
        return bool(self.fault)


#: Stores all of them, the refused too, in order; returns when none can be lost any more. Raises Unavailable.
Store = Callable[[Sequence[Received]], Awaitable[None]]


def _received(item: Frame | Garbage, peer: str, received_at: datetime) -> Received:
    header = None
    if isinstance(item, Frame) or item.fault is Fault.TOO_LARGE:
        try:
            header = Header.read(item.content)
        except MalformedMessage:
            header = None
    if isinstance(item, Frame):
        if header is None:
            return Received(item.content, peer, received_at, None, "a frame that holds no HL7 message", NOT_HL7)
        return Received(item.content, peer, received_at, header)
    if item.fault is Fault.TOO_LARGE:
        return Received(item.content, peer, received_at, header, item.fault, TOO_LARGE)
    return Received(item.content, peer, received_at, None, item.fault, answered=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """`frame`: largest message in bytes. `waiting` messages or `waiting_bytes` unanswered on one connection stop its
    reading. `storing_s`: seconds from receipt until AE. `batch`: most messages stored in one go."""

    frame: int = 20 * 1024 * 1024
    waiting: int = 1000
    waiting_bytes: int = 32 * 1024 * 1024
    storing_s: float = 5.0
    batch: int = 500


class _Connection(asyncio.Protocol):
    def __init__(self, server: MllpServer) -> None:
        self._server = server
        self._decoder = FrameDecoder(server.limits.frame)
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
        self._server.connections.add(self)

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
            self._server.connections.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ----------------------------------------------------------------------------------------------------- our own part

    def _end_frame(self) -> None:
        self._late_end = None
        self._take(self._decoder.close())

    def _take(self, items: Sequence[Frame | Garbage]) -> None:
        now = self._server.clock.now()
        for item in items:
            self._waiting.append((_received(item, self._peer, now), self._loop.time()))
            self._waiting_bytes += len(item.content)
        if self._full and not self._transport.is_closing():
            self._transport.pause_reading()
        if self._waiting and self._worker is None:
            self._worker = self._loop.create_task(self._work())

    @property
    def _full(self) -> bool:
        limits = self._server.limits
        return len(self._waiting) >= limits.waiting or self._waiting_bytes >= limits.waiting_bytes

    async def _work(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, self._server.limits.batch))
            stored = await self._server.stored([received for received, _ in batch], oldest=batch[0][1])
            await self._writable.wait()
            for received, _ in batch:
                self._waiting.popleft()
                self._waiting_bytes -= len(received.content)
            if not self._transport.is_closing():
                self._transport.write(b"".join(_answer(received, stored) for received, _ in batch if received.answered))
                if not (self._full or self._ending):
                    self._transport.resume_reading()
        self._worker = None
        if self._ending:
            self._transport.close()
            self._server.connections.discard(self)

    async def stop(self) -> None:
        """Answers what is here, then closes. A frame that is not whole is not answered, so its sender keeps it."""
        if self._late_end is not None:
            self._late_end.cancel()
        self._decoder = FrameDecoder(self._server.limits.frame)
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


def _answer(received: Received, stored: bool) -> bytes:
    code, condition = AcknowledgementCode.ACCEPT, received.condition
    if not stored:
        code, condition = AcknowledgementCode.ERROR, INTERNAL
    elif received.refused:
        code = AcknowledgementCode.REJECT
    return frame(acknowledge(received.header, code, received.received_at, condition))


class MllpServer:
    """Listens on one port. `store` is the promise behind every AA and AR; when it fails or takes too long, AE."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 2575,
        allow_plaintext_beyond_loopback: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """`port` 0: any free one, see `port` after `start`. Raises SettingsInvalid for a host beyond loopback, unless allowed
        in as many words."""
        if not allow_plaintext_beyond_loopback:
            require_loopback(host, "MLLP listener")
        self._store = store
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self.clock = clock
        self.limits = limits or Limits()
        self.connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises SettingsInvalid when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Connection(self), self._host, self._port, reuse_address=True, backlog=1024
            )
        except OSError as error:
            raise SettingsInvalid(
                "listen", f"{self._host}:{self._port}", f"the address cannot be bound: {error.strerror}"
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self, within_s: float = 8.0) -> None:
        """Accepts nothing more, answers what has been received, closes; after `within_s` without answers."""
        if self._server is None:
            return
        self._server.close()
        connections = list(self.connections)
        if connections:
            stopping = [asyncio.create_task(connection.stop()) for connection in connections]
            _, late = await asyncio.wait(stopping, timeout=within_s)
            for task in late:
                task.cancel()
            for connection in list(self.connections):
                await connection.abort()
        self._server = None

    async def stored(self, batch: Sequence[Received], oldest: float) -> bool:
        """Whether all of them are safe. `oldest`: loop time at which the first one came."""
        loop = asyncio.get_running_loop()
        limit = self.limits.storing_s
        try:
            async with asyncio.timeout_at(max(oldest + limit, loop.time() + limit / 2)):
                await self._store(batch)
        except TimeoutError:
            log.warning("not stored in time, answered AE", messages=len(batch), peer=batch[0].peer)
        except Unavailable as error:
            log.warning("not stored, answered AE", messages=len(batch), peer=batch[0].peer, error=str(error))
        except Exception as error:  # noqa: BLE001 - the sender must have its answer, and keep its message
            log.error("storing failed, answered AE", messages=len(batch), peer=batch[0].peer, error=type(error).__name__)  # noqa: TRY400
        else:
            return True
        return False
