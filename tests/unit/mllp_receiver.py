"""An MLLP receiver that behaves as a test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from connectors.mllp.framing import Frame, FrameDecoder, frame
from schemas.hl7v2.header import Header

Write = Callable[..., None]


def ack(code: str, control_id: str) -> bytes:
    return frame(f"MSH|^~\\&|||||||ACK|X|P|2.5\rMSA|{code}|{control_id}\r".encode())


@dataclass
class Receiver:
    """Hands each control id that comes to `answer`, with something to write with and the bytes of that connection."""

    answer: Callable[[str, Write], Awaitable[None]]
    got: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        decoder = FrameDecoder()
        while data := await reader.read(65536):
            for item in decoder.feed(data):
                assert isinstance(item, Frame)
                control_id = Header.read(item.content).field(10)
                self.got.append(control_id)
                await self.answer(control_id, writer.write)
        writer.close()


@asynccontextmanager
async def receiving(answer: Callable[[str, Write], Awaitable[None]], tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
