"""One outbound connection: messages go out in order, and each answer finds the message that it names in MSA-2."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from connectors.mllp.framing import Frame, FrameDecoder, Garbage, frame
from schemas.errors import MalformedMessage
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement

#: how long an end block waits for its carriage return
_CARRIAGE_RETURN_WAIT_S = 0.5
_RESET = partial(ConnectionResetError, errno.ECONNRESET, "")


@dataclass(slots=True)
class _Awaited:
    answer: asyncio.Future[Ack]
    application: bool


class Exchange(asyncio.Protocol):
    """An answer that belongs to no message of this connection, or is none, is passed over. Of several messages with one
    control id under way, the first is answered first."""

    def __init__(self) -> None:
        self._decoder = FrameDecoder()
        self._awaited: dict[str, deque[_Awaited]] = {}
        self._late_end: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        #: set while more may be written
        self.writable = asyncio.Event()

    @property
    def usable(self) -> bool:
        return not self._transport.is_closing()

    def write(self, message: bytes, control_id: str, *, application: bool = False) -> asyncio.Future[Ack]:
        """The answer to come: the commit answer or, when there is none, the application answer; with `application` the latter
        after a positive commit answer. Fails with OSError when the connection ends before."""
        answer: asyncio.Future[Ack] = self._loop.create_future()
        if not self.usable:
            answer.set_exception(_RESET())
            return answer
        self._awaited.setdefault(control_id, deque()).append(_Awaited(answer, application))
        self._transport.write(frame(message))
        return answer

    async def close(self, within_s: float) -> None:
        """Says goodbye; without it after `within_s`, to a peer that does not read."""
        self._transport.close()
        try:
            async with asyncio.timeout(within_s):
                await self._closed.wait()
        except TimeoutError:
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()

    # ------------------------------------------------------------------------------------------- what asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        if self._late_end is not None:
            self._late_end.cancel()
            self._late_end = None
        self._take(self._decoder.feed(data))
        if self._decoder.awaits_carriage_return:
            self._late_end = self._loop.call_later(_CARRIAGE_RETURN_WAIT_S, lambda: self._take(self._decoder.close()))

    def connection_lost(self, exception: Exception | None) -> None:
        if self._late_end is not None:
            self._late_end.cancel()
        self._take(self._decoder.close())
        for awaited in (one for queue in self._awaited.values() for one in queue):
            if not awaited.answer.done():  # an alert of TLS says why
                awaited.answer.set_exception(exception if isinstance(exception, OSError) else _RESET())
        self._awaited.clear()
        self.writable.set()
        self._closed.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    # ----------------------------------------------------------------------------------------------------- our own part

    def _take(self, items: Sequence[Frame | Garbage]) -> None:
        for item in items:
            if isinstance(item, Frame):
                try:
                    self._settle(read_acknowledgement(item.content))
                except MalformedMessage:
                    continue  # no answer to anything

    def _settle(self, ack: Ack) -> None:
        control_id = ack.message_control_id.strip()
        queue = self._awaited.get(control_id)
        if not queue or (queue[0].application and ack.code == "CA"):
            return
        awaited = queue.popleft()
        if not queue:
            del self._awaited[control_id]
        if not awaited.answer.done():
            awaited.answer.set_result(ack)
