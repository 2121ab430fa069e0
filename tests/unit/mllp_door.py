"""A listener with a door, and what a peer sees of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from connectors.door import Door
from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from streams.clock import SystemClock

MESSAGE = b"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C1|P|2.5.1\r"


class Kept(list[bytes]):
    async def store(self, batch: Sequence[Received]) -> None:
        self.extend(one.content for one in batch)


@asynccontextmanager
async def listening(door: Door, kept: Kept | None = None, limits: Limits | None = None) -> AsyncIterator[MllpServer]:
    server = MllpServer((Kept() if kept is None else kept).store, SystemClock(), port=0, limits=limits, door=door)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def exchange(server: MllpServer, tls: ssl.SSLContext | None = None) -> bytes:
    """One message, its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    try:
        writer.write(frame(MESSAGE))
        return await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
    finally:
        writer.close()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes without a word."""
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True
