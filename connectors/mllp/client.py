"""Sends HL7 messages over MLLP, one at a time, and waits for the acknowledgement that belongs to each."""

from __future__ import annotations

import asyncio
from typing import Self

from connectors.mllp.framing import Frame, FrameDecoder, frame
from connectors.mllp.loopback import require_loopback
from schemas.errors import MalformedMessage, Unavailable
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement
from schemas.hl7v2.header import Header


class MllpReceiverUnavailable(Unavailable):
    """The receiver does not answer. Whether it has the message is not known; sending it again is right."""


class MllpClient:
    """One connection to one receiver; connects when needed, order is kept. Use as an async context manager."""

    def __init__(self, host: str, port: int, *, timeout_s: float = 10.0, allow_plaintext_beyond_loopback: bool = False) -> None:
        """`timeout_s`: for connecting, and for each acknowledgement. Raises SettingsInvalid for a host beyond loopback."""
        if not allow_plaintext_beyond_loopback:
            require_loopback(host, "MLLP client")
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._decoder = FrameDecoder()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def send(self, message: bytes) -> Ack:
        """The acknowledgement whose MSA-2 is this message's MSH-10; others are passed over. AE and AR are returned, not raised.

        Raises MllpReceiverUnavailable (no connection, connection lost, no answer in time), MalformedMessage (what is to
        be sent has no MSH or no MSH-10 to tell its answer by)."""
        control_id = Header.read(message).field(10).strip()
        if not control_id:
            raise MalformedMessage("send", "MSH-10", "a message without control id cannot be acknowledged")
        async with self._lock:
            try:
                async with asyncio.timeout(self._timeout_s):
                    reader, writer = await self._connected()
                    writer.write(frame(message))
                    await writer.drain()
                    return await self._answer(reader, control_id)
            except (OSError, TimeoutError, EOFError) as error:
                await self.close()
                raise MllpReceiverUnavailable("send", f"{self._host}:{self._port}", type(error).__name__) from None
            except asyncio.CancelledError:
                await self.close()  # a late answer must not meet the next message
                raise

    async def close(self) -> None:
        if self._streams is None:
            return
        _, writer = self._streams
        self._streams = None
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            return  # it was broken already

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
            self._decoder = FrameDecoder()
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader, control_id: str) -> Ack:
        while data := await reader.read(64 * 1024):
            for item in self._decoder.feed(data):
                if not isinstance(item, Frame):
                    continue
                try:
                    ack = read_acknowledgement(item.content)
                except MalformedMessage:
                    continue  # no answer to anything
                if ack.message_control_id.strip() == control_id:
                    return ack
        raise EOFError
