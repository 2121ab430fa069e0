"""Acknowledgement messages (HL7 v2.5.1 2.9), written and read.

Written from the MSH alone, whatever the line ends of the message: nothing of a PID can get into an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from schemas.errors import MalformedMessage
from schemas.hl7v2.escapes import Separators
from schemas.hl7v2.header import Header


class AcknowledgementCode(StrEnum):
    """MSA-1, table 0008. A: of the application (in original mode the only answer). C: commit answer of enhanced mode, "your
    message is safe with me". ..A yes; ..E not now; ..R never like this."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"
    COMMIT_ACCEPT = "CA"
    COMMIT_ERROR = "CE"
    COMMIT_REJECT = "CR"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong: `code` and `text` of table 0357, and where: ERR-2 as segment^sequence^field^repetition^component ("" for the
    whole message). `message` tells a person more (ERR-8), in our own words, never the sender's."""

    code: str
    text: str
    location: str = ""
    message: str = ""


#: table 0357
SEQUENCE_ERROR = Condition("100", "Segment sequence error")
REQUIRED_FIELD_MISSING = Condition("101", "Required field missing")
DATA_TYPE_ERROR = Condition("102", "Data type error")
VALUE_NOT_FOUND = Condition("103", "Table value not found")
NOT_HL7 = Condition("100", "Segment sequence error", "MSH^1")
TOO_LARGE = Condition("104", "Value too long")
INTERNAL = Condition("207", "Application internal error")

#: answers a message whose own MSH could not be read
_UNREADABLE = Header.read(b"MSH|^~\\&|||||||ACK||P|2.5.1")


@lru_cache(maxsize=16)
def _stamps(at: datetime) -> tuple[str, str]:
    return at.strftime("%Y%m%d%H%M%S%z"), at.isoformat()


def acknowledge(header: Header | None, code: AcknowledgementCode, at: datetime, *conditions: Condition, accept: str = "") -> bytes:
    """One ACK message. Sender and receiver change places, separators, processing id, version and character set stay; MSA-2
    is the sender's MSH-10 byte for byte, empty when no header could be read. Our MSH-10 has 20 characters and is the same for
    the same header, time (`at`, timezone-aware) and code.

    `conditions` are told in ERR-2 to ERR-4 from version 2.5 on, in ERR-1 and MSA-3 before. `accept`: our own MSH-15, for an
    application answer of enhanced mode ("AL": it must be answered by a commit answer, "NE": it must not)."""
    told = header or _UNREADABLE
    mark = told.separators
    if not mark.all_marks:  # MSH-2 was left out, or is none: with a letter as separator no code could be told
        mark = Separators(mark.field)
    field, component = mark.field, mark.component
    moment, exact = _stamps(at)
    own = hashlib.sha256("\0".join((*told.fields, exact, code)).encode()).hexdigest()[:20].upper()
    modern = told.component(12, 1) >= "2.5"
    trigger = told.component(9, 2)
    kind = component.join(("ACK", trigger, "ACK")) if modern and trigger and component else "ACK"
    encoding = component + mark.repetition + mark.escape + mark.subcomponent
    msh = [
        "MSH", encoding, told.field(5), told.field(6), told.field(3), told.field(4), moment, "", kind,
        own, told.field(11) or "P", told.field(12) or "2.4",
    ]  # fmt: skip
    charset = told.field(18)
    if charset or accept:
        msh += ["", "", accept, "NE" if accept else "", "", charset]
    segments = [field.join(msh), field.join(("MSA", code, told.field(10)))]
    if conditions:
        segments += _errors(conditions, mark.field, component, mark.subcomponent) if modern else ()
        if not modern:  # ERR-1 is hard to read for many; MSA-3, deprecated by 2.4, is what older receivers show
            segments[-1] += field + _plain(conditions[0].message or conditions[0].text, field)
            segments += [_error_location(conditions, mark)]
    text = "\r".join(segments) + "\r"
    if "\x1c\r" in text:  # an end block: a sender's field may end with its first byte
        text = text.replace("\x1c\r", f"\x1c{field}\r")
    return text.encode("latin-1")


def _errors(conditions: Sequence[Condition], field: str, component: str, subcomponent: str) -> list[str]:
    """ERR, from 2.5 on (2.15.5): ERR-2 ERL, ERR-3 CWE of table 0357, ERR-4 severity, ERR-8 user message."""
    told = []
    for one in conditions:
        coded = component.join((one.code, one.text, "HL70357"))
        fields = ["ERR", "", one.location.replace("^", component), coded, "E"]
        if one.message:
            fields += ["", "", "", _plain(one.message, field + component + subcomponent)]
        told.append(field.join(fields))
    return told


def _plain(text: str, marks: str) -> str:
    """Our own words without what the sender uses as a separator, or what is no character of ASCII."""
    return "".join(" " if one in marks or not " " <= one <= "~" else one for one in text)


def _error_location(conditions: Sequence[Condition], mark: Separators) -> str:
    """ERR-1, before 2.5: ELD, segment^sequence^field^code, the code's own components as subcomponents; repeating."""
    told = []
    for one in conditions:
        place = (*one.location.split("^"), "", "", "")[:3]
        coded = mark.subcomponent.join((one.code, one.text, "HL70357")) if mark.subcomponent else one.code
        told.append(mark.component.join((*place, coded)))
    return mark.field.join(("ERR", (mark.repetition or "").join(told) if mark.repetition else told[0]))


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement as read. `code` is MSA-1 (AA, AE, AR; CA, CE, CR in enhanced mode); `message_control_id` is MSA-2 as
    sent, one character a byte (Latin-1), as `Header` holds MSH-10; `condition` the first code of table 0357 (ERR-3.1, before
    2.5 ERR-1.4, MSA-6); `content` the whole answer, which may quote patient data and is never logged."""

    code: str
    message_control_id: str
    condition: str
    content: bytes

    @property
    def accepted(self) -> bool:
        return self.code in ("AA", "CA")


def read_acknowledgement(content: bytes) -> Ack:
    """Raises MalformedMessage when it holds no MSH or no MSA segment. Its character set does not matter."""
    mark = Header.read(content).separators
    segments = [line.split(mark.field) for line in content.decode("latin-1").replace("\n", "\r").split("\r")]
    msa = next((segment for segment in segments if segment[0] == "MSA"), None)
    if msa is None:
        raise MalformedMessage("read", "MSA", "an acknowledgement without an MSA segment")
    err = next((segment for segment in segments if segment[0] == "ERR"), [])

    def part(fields: list[str], number: int, component: int = 1) -> str:
        whole = fields[number] if number < len(fields) else ""
        first = whole.split(mark.repetition, 1)[0] if mark.repetition else whole
        parts = first.split(mark.component) if mark.component else [first]
        return parts[component - 1].strip() if component <= len(parts) else ""

    located = part(err, 1, 4)
    located = located.split(mark.subcomponent)[0] if mark.subcomponent else located
    control_id = msa[2] if len(msa) > 2 else ""
    return Ack(part(msa, 1).upper(), control_id, part(err, 3) or located or part(msa, 6), content)
