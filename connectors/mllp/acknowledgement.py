"""Acknowledgements in original mode (HL7 v2.5.1 2.9.2), written and read.

Written from the MSH alone, whatever the line ends of the message: nothing of a PID can get into an answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.errors import MalformedMessage
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message


class AcknowledgementCode(StrEnum):
    """MSA-1, table 0008. AA: stored. AE: not now, send again. AR: never like this, a person must look."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong: ERR-3, table 0357 (2.16.357), and where: ERR-2 ("" for the whole message)."""

    code: str
    text: str
    location: str = ""


NOT_HL7 = Condition("100", "Segment sequence error", "MSH^1")
TOO_LARGE = Condition("104", "Value too long")
INTERNAL = Condition("207", "Application internal error")

#: answers a message whose own MSH could not be read
_UNREADABLE = Header.read(b"MSH|^~\\&|||||||ACK||P|2.5.1")


def acknowledge(
    header: Header | None, code: AcknowledgementCode, received_at: datetime, condition: Condition | None = None
) -> bytes:
    """One ACK message. Sender and receiver change places, separators, processing id, version and character set stay; MSA-2
    is the sender's MSH-10 byte for byte, empty when no header could be read. Our MSH-10 has 20 characters and is the same for
    the same header, time and code. ERR is written from version 2.5 on, where its present form begins."""
    told = header or _UNREADABLE
    mark = told.separators
    control_id = told.field(10)
    own = hashlib.sha256("\0".join((*told.fields, received_at.isoformat(), code)).encode()).hexdigest()[:20].upper()
    version = told.component(12, 1)
    modern = version >= "2.5"
    trigger = told.component(9, 2)
    msh = ["MSH", "".join((mark.component, mark.repetition, mark.escape, mark.subcomponent))]
    msh += [told.field(5), told.field(6), told.field(3), told.field(4)]
    msh += [received_at.strftime("%Y%m%d%H%M%S%z"), ""]
    msh += [mark.component.join(("ACK", trigger, "ACK")) if modern and trigger and mark.component else "ACK"]
    msh += [own, told.field(11) or "P", told.field(12) or "2.5.1"]
    if told.field(18):
        msh += ["", "", "", "", "", told.field(18)]
    segments = [msh, ["MSA", code, control_id]]
    if condition and modern:
        coded = mark.component.join((condition.code, condition.text, "HL70357"))
        segments.append(["ERR", "", condition.location.replace("^", mark.component), coded, "E"])
    elif condition:
        segments[-1].append(condition.text)  # MSA-3, deprecated by 2.4, all that older receivers read
    return "".join(mark.field.join(fields) + "\r" for fields in segments).encode("latin-1")


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement as read. `code` is MSA-1 (AA, AE, AR; CA, CE, CR in enhanced mode); `condition` the first ERR-3.1;
    `content` the whole answer, which may quote patient data and is never logged."""

    code: str
    message_control_id: str
    condition: str
    content: bytes

    @property
    def accepted(self) -> bool:
        return self.code in ("AA", "CA")


def read_acknowledgement(content: bytes) -> Ack:
    """Raises MalformedMessage when it holds no MSA segment."""
    message = Message.parse(content)
    msa = message.first("MSA")
    if msa is None:
        raise MalformedMessage("read", "MSA", "an acknowledgement without an MSA segment")
    err = message.first("ERR")
    return Ack(msa.value(1).upper(), msa.value(2), err.value(3) if err else "", content)
