"""Between a caller's connection and the socket that pynetdicom reads: whole PDUs of bearable size, and no more than a message
can have.

pynetdicom reads a PDU of any length that its first bytes promise (up to 4 GiB) and waits for the rest of it without end."""

from __future__ import annotations

import asyncio

#: PS3.8 9.3.1: type, reserved, length of what follows
_HEADER = 6
#: PS3.8 9.3.8, of the service user, no reason
_A_ABORT = bytes([7, 0, 0, 0, 0, 4, 0, 0, 0, 0])
_CHUNK = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """`pdu_limit` and `message_limit` in bytes; the latter counts what was heard since our last word: who speaks PS3.7 without
    asynchronous operations waits for it. `writing_s`: how long a caller may leave our words unread."""

    def __init__(self, caller: Streams, inside: Streams, *, pdu_limit: int, message_limit: int, writing_s: float) -> None:
        self._caller_reader, self._caller = caller
        self._inside_reader, self._inside = inside
        self._pdu_limit, self._message_limit = pdu_limit, message_limit
        self._writing_s = writing_s
        self._heard_since = 0
        self._answered = asyncio.Event()
        self._answered.set()
        #: why the caller was hung up on, "" when it was not
        self.objection = ""

    async def run(self) -> None:
        """Until one of the two hangs up."""
        hearing = asyncio.create_task(self._hear())
        try:
            await self._say()
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])
            self._caller.close()
            self._inside.close()

    async def end(self) -> None:
        """What was asked is answered first."""
        await self._answered.wait()
        self._caller.write(_A_ABORT)
        self._caller.close()

    def abort(self) -> None:
        self._caller.transport.abort()
        self._inside.close()

    async def _hear(self) -> None:
        try:
            while True:
                header = await self._caller_reader.readexactly(_HEADER)
                length = int.from_bytes(header[2:], "big")
                self._heard_since += _HEADER + length
                if length > self._pdu_limit or self._heard_since > self._message_limit:
                    self.objection = "a PDU or message is too long"
                    self._caller.write(_A_ABORT)
                    break
                body = await self._caller_reader.readexactly(length)
                self._answered.clear()
                self._inside.write(header + body)
                await self._inside.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the caller is gone: pynetdicom sees the end of its socket
        finally:
            self._answered.set()
            self._inside.close()

    async def _say(self) -> None:
        try:
            while said := await self._inside_reader.read(_CHUNK):
                self._heard_since = 0
                self._caller.write(said)
                async with asyncio.timeout(self._writing_s):
                    await self._caller.drain()
                self._answered.set()
        except TimeoutError:
            self.objection = "our answers are not read"
            self._caller.transport.abort()
        except OSError:
            pass  # the caller is gone
