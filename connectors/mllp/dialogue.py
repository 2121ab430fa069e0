"""What a peer sent, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connectors.mllp.framing import Fault, Frame, Garbage, frame
from schemas.errors import MalformedMessage
from schemas.hl7v2.acknowledgement import INTERNAL, NOT_HL7, TOO_LARGE, AcknowledgementCode, Condition, acknowledge
from schemas.hl7v2.header import Header


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


class Dialogue:
    """How one listener takes frames and answers them."""

    def received(self, item: Frame | Garbage, peer: str, at: datetime) -> list[Received]:
        """Everything that is to be stored of it, in order."""
        header = None
        if isinstance(item, Frame) or item.fault is Fault.TOO_LARGE:
            try:
                header = Header.read(item.content)
            except MalformedMessage:
                header = None
        if isinstance(item, Frame):
            if header is None:
                return [Received(item.content, peer, at, None, "a frame that holds no HL7 message", NOT_HL7)]
            return [Received(item.content, peer, at, header)]
        if item.fault is Fault.TOO_LARGE:
            return [Received(item.content, peer, at, header, item.fault, TOO_LARGE)]
        return [Received(item.content, peer, at, None, item.fault, answered=False)]

    def answer(self, received: Received, stored: bool) -> bytes:
        """The framed acknowledgement: AA or AR when its bytes are `stored`, else AE; nothing when none is owed."""
        if not received.answered:
            return b""
        code, condition = AcknowledgementCode.ACCEPT, received.condition
        if not stored:
            code, condition = AcknowledgementCode.ERROR, INTERNAL
        elif received.refused:
            code = AcknowledgementCode.REJECT
        return frame(acknowledge(received.header, code, received.received_at, *([condition] if condition else [])))
