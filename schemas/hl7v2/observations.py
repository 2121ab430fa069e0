"""One OBX of a report: its lines of text, what it says of their standing, and what it encapsulates."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.events import Attachment
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Repetition, Segment

#: OBX-2: coded entries are read by their text; encapsulated data, pointers and references are no lines of text
_CODED = frozenset({"CE", "CWE", "CNE"})

#: OBX-3.1, second subcomponent: the section of a report (v2.3 to v2.7, 7.2.4); GDT and IMP are parts of the report itself
_ADDENDUM_SUFFIX = "ADT"
#: OBX-11 from v2.8: amended, appended. Table 0085 gave these letters no other meaning before, so MSH-12 is not asked
_ADDENDUM_STATUS = frozenset({"A", "B"})
#: OBX-11: deleted; posted as wrong
_WITHDRAWN = frozenset({"D", "W"})


@dataclass(frozen=True, slots=True)
class Observation:
    """`status` is a code of table 0085, or the sender's own word."""

    status: str
    addendum: bool
    lines: list[str]
    attachments: list[Attachment]


def observation(reception: Reception, obx: Segment) -> Observation:
    """Raises MalformedMessage for a code that did not decode."""
    kind = reception.code(obx, 2).upper()
    status = reception.habits.result_code(reception.code(obx, 11))
    addendum = status in _ADDENDUM_STATUS or reception.code(obx, 3, 1, 2).upper() == _ADDENDUM_SUFFIX
    attachments = [_ATTACHED[kind](obx, repetition) for repetition in obx.repetitions(5)] if kind in _ATTACHED else []
    lines = [] if status in _WITHDRAWN else _lines(obx, kind)
    return Observation(status, addendum, lines, attachments)


def _lines(obx: Segment, kind: str) -> list[str]:
    """OBX-5; empty lines are kept, they are paragraphs."""
    repetitions = obx.repetitions(5)
    if kind == "RP":
        return []
    if kind == "ED":
        return [repetition.whole(5) for repetition in repetitions if _is_text(repetition)]
    if kind in _CODED:
        return [repetition.component(2) or repetition.component(1) for repetition in repetitions]
    return [repetition.text for repetition in repetitions] or [""]


def _is_text(ed: Repetition) -> bool:
    """Plain text that stands in the message as it is: ED.2 TEXT (table 0191), ED.4 A (table 0299: no encoding)."""
    plain = ed.component(3).upper() in ("", "PLAIN", "TEXT/PLAIN", "TXT")
    return ed.component(2).upper() == "TEXT" and plain and ed.component(4).upper() in ("", "A", "ASCII")


def _encapsulated(obx: Segment, data: Repetition) -> Attachment:
    return Attachment(
        data_type="ED",
        observation=obx.value(3),
        type=data.component(2),
        subtype=data.component(3),
        encoding=data.component(4),
        length=len(data.whole(5)),
    )


def _pointer(obx: Segment, data: Repetition) -> Attachment:
    return Attachment(
        data_type="RP", observation=obx.value(3), type=data.component(3), subtype=data.component(4), pointer=data.component(1)
    )


_ATTACHED = {"ED": _encapsulated, "RP": _pointer}
