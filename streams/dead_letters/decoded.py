"""A value taken apart for a person: each field or member in a line, those marked that are wrong; characters replaced by their kind
unless they may be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.errors import Rejected, UnsupportedMessage
from schemas.export import SHAPES
from schemas.hl7v2.message import Message, Segment
from streams.dead_letters.faults import Fault, faulty
from streams.dead_letters.names import known_names

#: of MSH what says how to read the message, and from which system it comes
_NO_PATIENT = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 18}
#: of orders, results, patients and images (v2.5.1), with those that every message may have
_SEGMENTS = re.compile(
    "MSH|MSA|ERR|EVN|SFT|NTE|DSC|PID|PD1|NK1|MRG|PV1|PV2|ROL|DB1|AL1|IAM|DG1|DRG|PR1|GT1|IN1|IN2|IN3|ACC|UB1|UB2|PDA|"
    "ORC|OBR|OBX|TQ1|TQ2|IPC|CTD|CTI|FT1|BLG|SPM|SAC|ODS|ODT|RQD|RQ1|RXO|RXR|RXC|RXE|BHS|BTS|FHS|FTS|ZDS"
)
ABSENT = "(absent)"
#: characters of a masked value: its form is seen by then
_LONGEST = 80
#: levels of members
_DEEPEST = 64
#: in the place of a byte that cannot be read
_UNREAD = "\N{REPLACEMENT CHARACTER}"
#: bytes around the one that is wrong, and in a line
_AROUND, _LINE = 8, 16

_Path = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """`place` in the words of its format: PID-3, subject.sequence, or "at offset 61"."""

    place: str
    value: str
    wrong: bool = False


def masked(text: str) -> str:
    """Its form without its content: 9 for a digit, x for any other letter, and for all beyond ASCII: in many scripts the marks are
    what tells a name. Marks of ASCII stay."""
    said = "".join(map(_masked, text[:_LONGEST]))
    return said if len(text) <= _LONGEST else f"{said}... ({len(text)} characters)"


def _masked(letter: str) -> str:
    if letter.isdecimal():
        return "9"
    return letter if letter == _UNREAD or (letter.isascii() and not letter.isalpha()) else "x"


def decoded(value: bytes, type: str, hl7: bool, charset: str, fault: Fault, *, reveal: bool) -> list[Part]:
    """`type`: the CloudEvents type of an event; `charset` (table 0211): where MSH-18 is empty. What cannot be read as that is shown
    as bytes."""
    parts = list(_byte_at(value, fault)) if fault.offset is not None else []
    if hl7:
        try:
            return [*parts, *_message(_read(value, charset), fault, reveal)]
        except Rejected:
            return [*parts, *_bytes(value, reveal)]
    try:
        leaves = list(_leaves(json.loads(value), ()))
    except json.JSONDecodeError as error:
        at = len(error.doc[: error.pos].encode("utf-8"))
        return [*parts, *_byte_at(value, Fault(offset=at)), *_bytes(value, reveal)]
    except (ValueError, RecursionError):  # no UTF-8; nested as nothing is that anybody means
        return [*parts, *_bytes(value, reveal)]
    return [*parts, *_members(leaves, _wrong(value, type), reveal)]


def _read(value: bytes, charset: str) -> Message:
    """One whose character set is not read is taken for Latin-1: its fields are where they are. Raises MalformedMessage."""
    try:
        return Message.parse(value, charset)
    except UnsupportedMessage:
        return Message(value, charset, "latin-1", value.decode("latin-1"), None)


def _message(message: Message, fault: Fault, reveal: bool) -> Iterator[Part]:
    meant = faulty(message, fault)
    for segment in message.segments:
        wrong = any(segment is one for one in meant)
        yield from _segment(segment, fault if wrong else None, reveal)
    if fault.segment is not None and not meant:
        yield Part(fault.place, ABSENT, wrong=True)


def _segment(segment: Segment, fault: Fault | None, reveal: bool) -> Iterator[Part]:
    whole = fault is not None and fault.field is None
    fields = list(enumerate(segment.fields))[1:]
    if not any(text for _, text in fields):
        yield Part(_name(segment, reveal), "", whole)
    for number, text in fields:
        wrong = fault is not None and fault.field == number
        if not (text or wrong):
            continue
        plain = reveal or (segment.name == "MSH" and number in _NO_PATIENT)
        name = _name(segment, reveal)
        yield Part(f"{name}-{number}", (text if plain else masked(text)) or ABSENT, wrong or whole)
        if fault is not None and wrong and fault.component is not None:
            component = segment.value(number, fault.component)
            yield Part(f"{name}-{number}.{fault.component}", (component if plain else masked(component)) or ABSENT, wrong=True)
    if fault is not None and fault.field is not None and fault.field >= len(segment.fields):
        yield Part(fault.place, ABSENT, wrong=True)


def _name(segment: Segment, reveal: bool) -> str:
    """A line that is no segment, because a field was broken into two, begins with anything: DOE|1970."""
    return segment.name if reveal or _SEGMENTS.fullmatch(segment.name) else masked(segment.name)


def _wrong(value: bytes, type: str) -> Sequence[tuple[_Path, bool]]:
    """Paths that are not as the type promises, and whether they are missing."""
    kind = SHAPES.get(type)
    if kind is None:
        return ()
    try:
        kind.model_validate_json(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(one["loc"], one["type"] == "missing") for one in found]
    return ()


def _members(leaves: Sequence[tuple[_Path, Any]], wrong: Sequence[tuple[_Path, bool]], reveal: bool) -> Iterator[Part]:
    seen = set()
    for path, value in leaves:
        text = json.dumps(value, ensure_ascii=False)
        plain = reveal or value is None or isinstance(value, bool) or value in ({}, [])
        marks = [place for place, missing in wrong if not missing and path[: len(place)] == place]
        seen.update(marks)
        yield Part(_place(path, reveal), text if plain else masked(text), wrong=bool(marks))
    for place, _ in wrong:
        if place not in seen:
            yield Part(_place(place, reveal), ABSENT, wrong=True)


def _place(path: _Path, reveal: bool) -> str:
    """subject.orders[0].id"""
    told = ""
    for one in path:
        if isinstance(one, int):
            told += f"[{one}]"
        else:
            told += ("." if told else "") + (one if reveal or one in known_names() else masked(one))
    return told or "value"


def _leaves(read: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    """Raises RecursionError."""
    if len(path) > _DEEPEST:
        raise RecursionError
    if isinstance(read, dict) and read:
        for name, value in read.items():
            yield from _leaves(value, (*path, name))
    elif isinstance(read, list) and read:
        for number, value in enumerate(read):
            yield from _leaves(value, (*path, number))
    else:
        yield path, read


def _byte_at(value: bytes, fault: Fault) -> Iterator[Part]:
    """The byte that is wrong, and how far it is from both ends; those around it only as what kind they are."""
    at = fault.offset
    if at is None:
        return
    if at >= len(value):
        yield Part(f"at offset {at}", "the end of the value", wrong=True)
        return
    before, behind = value[max(0, at - _AROUND) : at], value[at + 1 : at + 1 + _AROUND]
    around = f"{masked(before.decode('latin-1'))}[{value[at]:02x}]{masked(behind.decode('latin-1'))}"
    yield Part(f"at offset {at}", "".join(one if one.isprintable() else "." for one in around), wrong=True)


def _bytes(value: bytes, reveal: bool) -> Iterator[Part]:
    if not reveal:
        yield Part("value", f"{len(value)} bytes (hidden)")
        return
    for at in range(0, len(value), _LINE):
        line = value[at : at + _LINE]
        text = "".join(chr(one) if 32 <= one < 127 else "." for one in line)
        yield Part(f"{at:08x}", f"{line.hex(' '):{_LINE * 3}} {text}")
