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
#: bytes around the one that is wrong, and in a line
_AROUND, _LINE = 8, 16


@dataclass(frozen=True, slots=True)
class Part:
    """`place` in the words of its format: PID-3, subject.sequence, or "at offset 61"."""

    place: str
    value: str
    wrong: bool = False


def masked(text: str) -> str:
    """Its form without its content: 9 for a digit, x for any other letter; marks stay."""
    said = "".join("9" if one.isdecimal() else "x" if one.isalnum() else one for one in text[:_LONGEST])
    return said if len(text) <= _LONGEST else f"{said}... ({len(text)} characters)"


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
        read = json.loads(value)
    except json.JSONDecodeError as error:
        at = len(error.doc[: error.pos].encode("utf-8"))
        return [*parts, *_byte_at(value, Fault(offset=at)), *_bytes(value, reveal)]
    except ValueError:  # no UTF-8
        return [*parts, *_bytes(value, reveal)]
    return [*parts, *_members(read, _wrong(value, type), reveal)]


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


def _wrong(value: bytes, type: str) -> Sequence[tuple[str, bool]]:
    """Places that are not as the type promises, and whether they are missing."""
    kind = SHAPES.get(type)
    if kind is None:
        return ()
    try:
        kind.model_validate_json(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [(_path(one["loc"]), one["type"] == "missing") for one in found]
    return ()


def _path(places: Sequence[int | str]) -> str:
    path = ""
    for place in places:
        path += f"[{place}]" if isinstance(place, int) else f".{place}" if path else place
    return path


def _members(read: Any, wrong: Sequence[tuple[str, bool]], reveal: bool) -> Iterator[Part]:
    seen = set()
    for path, value in _leaves(read, ""):
        text = json.dumps(value, ensure_ascii=False)
        plain = reveal or value is None or isinstance(value, bool) or value in ({}, [])
        marks = [
            place for place, missing in wrong if not missing and (path == place or path.startswith((f"{place}.", f"{place}[")))
        ]
        seen.update(marks)
        yield Part(path or "value", text if plain else masked(text), wrong=bool(marks))
    for place, _ in wrong:
        if place not in seen:
            yield Part(place or "value", ABSENT, wrong=True)


def _leaves(read: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(read, dict) and read:
        for name, value in read.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(read, list) and read:
        for number, value in enumerate(read):
            yield from _leaves(value, f"{path}[{number}]")
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
