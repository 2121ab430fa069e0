"""What in a message departs from the HL7 v2 standard of its own MSH-12, held against hl7apy's structures.

hl7apy's own validation is not used: it fails every ORM_O01 (its choice of OBR or RXO), takes 199 characters for the limit of
any ST, and reads LF line ends as one long segment. Its tables of messages, segments, data types and codes are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hl7apy import SUPPORTED_LIBRARIES, load_reference
from hl7apy.exceptions import ChildNotFound

from schemas.hl7v2.message import Message, Segment
from schemas.renderings.hl7structure import misplaced

#: for a message that names no version, or none that is known
FALLBACK = "2.5.1"
_NULL = '""'

#: table 0354, where the structure is not named after the event
_STRUCTURES = {
    **dict.fromkeys(("ADT_A04", "ADT_A08", "ADT_A13"), "ADT_A01"),
    **dict.fromkeys(("ADT_A14", "ADT_A28", "ADT_A31"), "ADT_A05"),
    **dict.fromkeys(("ADT_A34", "ADT_A35", "ADT_A36", "ADT_A46", "ADT_A47", "ADT_A48", "ADT_A49"), "ADT_A30"),
    **dict.fromkeys(("ADT_A40", "ADT_A41", "ADT_A42"), "ADT_A39"),
}
_TIME = r"\d{4}(\d{2}(\d{2}(\d{2}(\d{2}(\d{2}(\.\d{1,4})?)?)?)?)?)?([+-]\d{4})?"
#: what a value of these data types looks like (v2.5.1 2.A); the others are text
_FORMS = {
    "NM": ("a number", re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")),
    "SI": ("a whole number of at most 4 digits", re.compile(r"\d{1,4}")),
    "DT": ("a date YYYY[MM[DD]]", re.compile(r"\d{4}(\d{2}(\d{2})?)?")),
    "TM": ("a time HH[MM[SS[.SSSS]]][+/-ZZZZ]", re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,4})?)?)?([+-]\d{4})?")),
    "DTM": ("a time YYYY[MM[DD[HH[MM[SS[.SSSS]]]]]][+/-ZZZZ]", re.compile(_TIME)),
    "TS": ("a time YYYY[MM[DD[HH[MM[SS[.SSSS]]]]]][+/-ZZZZ]", re.compile(_TIME)),
}
#: coding systems: a register that grows beside the versions
_OPEN_TABLES = frozenset({"HL70396"})
#: formatted text: its separators should be escaped too, but no reader stumbles over them
_FREE_TEXT = frozenset({"TX", "FT"})


@dataclass(frozen=True, slots=True)
class Deviation:
    """`segment`: where it is, None for the end of the message. `place` names the field; `expected` and `found` are in our own
    words; `value` is what stands there and may be a patient's. `error`: the message breaks its standard; else a receiver that
    obeys it can still read the message."""

    segment: Segment | None
    place: str
    expected: str
    found: str
    value: str = ""
    error: bool = True


def version_of(message: Message) -> str:
    """MSH-12 if hl7apy knows it, else FALLBACK."""
    told: str = message.header.value(12)
    return told if told in SUPPORTED_LIBRARIES else FALLBACK


def deviations(message: Message) -> Iterator[Deviation]:
    """In the order of the message, after those that concern it as a whole."""
    version = version_of(message)
    told = message.header.value(12)
    if told != version:
        yield Deviation(message.header, "MSH-12", "a version 2.1 to 2.8.2", _found(told), told, error=not told)
    wrong = _structure(message, version)
    for segment in message.segments:
        yield from (one for one in wrong if one.segment is segment)
        if not segment.name.startswith("Z"):
            yield from _segment(segment, version)
    yield from (one for one in wrong if one.segment is None)


def _structure(message: Message, version: str) -> Sequence[Deviation]:
    header = message.header
    event = "_".join(part for part in message.type if part)
    for name in (header.value(9, 3).upper(), _STRUCTURES.get(event, event), event):
        reference = _reference(name, "Message", version) if name else None
        if reference is not None:
            standard = [one for one in message.segments if _known(one.name, version)]
            return [
                Deviation(
                    standard[at] if at < len(standard) else None,
                    missing or standard[at].name,
                    f"{missing} here ({name})" if missing else f"no {standard[at].name} here ({name})",
                    "missing" if missing else "there",
                )
                for at, missing in misplaced([one.name for one in standard], reference)
            ]
    value = header.field(9)
    return [Deviation(header, "MSH-9", f"a message type of {version}", _found(value), value, error=False)]


def _segment(segment: Segment, version: str) -> Iterator[Deviation]:
    if not _known(segment.name, version):
        found = "a line that is none: a line end within a field?" if not _word(segment.name) else "one it does not know"
        yield Deviation(segment, "segment", f"a segment of {version}", found, segment.line)
        return
    reference = _reference(segment.name, "Segment", version)
    numbered = {int(child[0].rpartition("_")[2]): child for child in reference[1]}
    for number, (_, field, cardinality, _) in sorted(numbered.items()):
        if segment.name != "MSH" or number > 2:
            yield from _field(segment, number, field, cardinality, version)
    last = max(numbered, default=0)
    held = [number for number, text in enumerate(segment.fields) if number > last and text.strip()]
    if held:
        place, value = f"{segment.name}-{held[0]}", segment.field(held[0])
        yield Deviation(segment, place, f"at most {last} fields in {version}", _found(value), value, error=False)


def _field(segment: Segment, number: int, reference: Any, cardinality: tuple[int, int], version: str) -> Iterator[Deviation]:
    least, most = cardinality
    text, place = segment.field(number), f"{segment.name}-{number}"
    if not text.strip():
        if least:
            yield Deviation(segment, place, _title("a value", reference), "empty")
        return
    if most == 0:
        yield Deviation(segment, place, f"nothing: withdrawn in {version}", _found(text), text, error=False)
        return
    repetitions = text.split(segment.separators.repetition or "\0")
    if most != -1 and len(repetitions) > most:
        yield Deviation(segment, place, f"at most {_counted(most, 'repetition')}", str(len(repetitions)), text)
    if reference[2] == "varies":
        reference = _varying(segment, version)
    for ordinal, repetition in enumerate(repetitions, 1):
        where = f"{place}[{ordinal}]" if len(repetitions) > 1 else place
        separators = (segment.separators.component, segment.separators.subcomponent)
        if reference is not None and repetition.strip():
            yield from _value(segment, where, repetition, reference, separators, version)


def _varying(segment: Segment, version: str) -> Any:
    """Of OBX-5: the data type that OBX-2 names; None for one that is not known."""
    name = segment.value(2).upper()
    if name in ("ST", "TX", "FT", *_FORMS):
        return ("leaf", None, name, "OBSERVATION_VALUE", None, -1)
    components = _reference(name, "Datatypes_Structs", version) if segment.name == "OBX" and name else None
    return ("sequence", components, name, "OBSERVATION_VALUE", None, -1) if components else None


def _value(
    segment: Segment, place: str, text: str, reference: Any, separators: tuple[str, ...], version: str
) -> Iterator[Deviation]:
    """A repetition, component or subcomponent; `separators` are those that may part it further."""
    kind, children, data_type, *_ = reference
    parts = text.split(separators[0]) if separators and separators[0] else [text]
    if kind == "leaf" or not separators:
        yield from _leaf(segment, place, text, parts, reference, version)
        return
    for number, (_, child, (least, _), _) in enumerate(children, 1):
        part = parts[number - 1] if number <= len(parts) else ""
        if part.strip():
            yield from _value(segment, f"{place}.{number}", part, child, separators[1:], version)
        elif least and text.strip() != _NULL:
            yield Deviation(segment, f"{place}.{number}", _title("a value", child), "empty")
    if any(part.strip() for part in parts[len(children) :]):
        expected = f"at most {_counted(len(children), 'component')} ({data_type})"
        yield Deviation(segment, place, expected, str(len(parts)), text, error=False)


def _leaf(segment: Segment, place: str, text: str, parts: Sequence[str], reference: Any, version: str) -> Iterator[Deviation]:
    data_type, table = reference[2], reference[4]
    value = text.strip()
    if value == _NULL:
        return
    if len(parts) > 1 and any(part.strip() for part in parts[1:]):
        # 7.2.4: a suffix (&GDT) may follow the identifier of an observation
        if data_type not in _FREE_TEXT and place != "OBX-3.1":
            yield Deviation(segment, place, f"one value that is not parted ({data_type})", f"{len(parts)} parts", text, error=False)
        return
    words, form = _FORMS.get(data_type, ("", None))
    if form is not None and not form.fullmatch(value):
        yield Deviation(segment, place, _title(f"{words} ({data_type})", reference), _found(value), value)
    if data_type == "ID" and table and table not in _OPEN_TABLES:
        codes = _reference(table, "Table", version)
        if codes is not None and codes[1] and value not in codes[1]:
            expected = f"a code of table {table.removeprefix('HL7')}"
            yield Deviation(segment, place, _title(expected, reference), _found(value), value, error=False)


@lru_cache(maxsize=4096)
def _reference(name: str, kind: str, version: str) -> Any:
    """None where hl7apy has none."""
    try:
        return load_reference(name, kind, version)
    except (ChildNotFound, KeyError):
        return None


def _known(name: str, version: str) -> bool:
    return _reference(name, "Segment", version) is not None


def _word(name: str) -> bool:
    """A name that the standard knows in some version: any other may be the beginning of somebody's name."""
    return any(_known(name, version) for version in ("2.3", "2.5.1", "2.8.2"))


def _title(expected: str, reference: Any) -> str:
    """With the standard's name of the field."""
    name = str(reference[3] or "").replace("_", " ").lower()
    return f"{expected}: {name}" if name else expected


def _found(value: str) -> str:
    return _counted(len(value), "character") if value else "empty"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
