"""A listener over real sockets, with a store that the test holds in its hand, and a peer of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.framing import Frame, FrameDecoder
from connectors.mllp.server import MllpServer
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Store:
    """Keeps what it is given while `open`; fails while `away`."""

    kept: list[Received] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, batch: Sequence[Received]) -> None:
        self.calls.append(len(batch))
        self.called.set()
        await self.open.wait()
        if self.failure:
            raise self.failure
        self.kept += batch

    @property
    def contents(self) -> list[bytes]:
        return [one.content for one in self.kept]


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = FrameDecoder()
        self._ready: list[Ack] = []

    async def answers(self, count: int) -> list[Ack]:
        async with asyncio.timeout(10):
            while len(self._ready) < count:
                data = await self.reader.read(65536)
                assert data, "connection closed"
                for item in self._decoder.feed(data):
                    assert isinstance(item, Frame)
                    self._ready.append(read_acknowledgement(item.content))
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    async def codes(self, count: int) -> list[tuple[str, str]]:
        return [(ack.code, ack.message_control_id) for ack in await self.answers(count)]


def message(number: int, text: str = "x") -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C{number}|P|2.5.1\rNTE|1||{text}\r".encode()


@asynccontextmanager
async def listening(store: Store, *, opened: bool = True, limits: Limits | None = None) -> AsyncIterator[tuple[MllpServer, Peer]]:
    if opened:
        store.open.set()
    server = MllpServer(store, FixedClock(), port=0, limits=limits)
    await server.start()
    peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield server, peer
    finally:
        peer.writer.close()
        store.open.set()
        await server.stop()
