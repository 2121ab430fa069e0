"""Application answers go to a return address, in order, each acknowledged there before the next is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from schemas.errors import Refused, Unavailable
from schemas.hl7v2.acknowledgement import Ack, AcknowledgementCode
from schemas.ports import Outgoing, Record
from streams.answering import ANSWER_TO

#: times that one answer is sent to a receiver that answers AE or CE: two minutes with the guard's pauses. Whoever is not there at
#: all is waited for.
TRIES = 20


class ReturnAddressBusy(Unavailable):
    """The receiver of answers said AE or CE."""


class ReturnAddressRefuses(Refused):
    """The receiver of answers said AR or CR, or AE too often."""


class AnswerTo:
    """The step of one return address. `send` takes a message and gives its acknowledgement; it raises Unavailable."""

    def __init__(self, address: str, send: Callable[[bytes], Awaitable[Ack]]) -> None:
        self._address = address
        self._send = send
        self._tried = ("", 0)

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        """Raises ReturnAddressBusy, ReturnAddressRefuses, and what `send` raises."""
        if record.header(ANSWER_TO) != self._address:
            return []
        ack = await self._send(record.value)
        if ack.accepted:
            return []
        place = str(record.place)
        told = f"{self._address} answered {ack.code if ack.code in list(AcknowledgementCode) else 'what is no code of table 0008'}"
        if ack.code in (AcknowledgementCode.ERROR, AcknowledgementCode.COMMIT_ERROR):
            before, times = self._tried
            self._tried = (place, times + 1 if before == place else 1)
            if self._tried[1] < TRIES:
                raise ReturnAddressBusy("answer", place, told)
        raise ReturnAddressRefuses("answer", place, told)
