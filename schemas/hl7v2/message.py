"""An ER7 message, split as far as somebody asks. Tolerant of what senders do (line ends, byte order mark, missing
trailing fields); it never changes a byte of what it was given.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.hl7v2.charset import SUBSTITUTE, codec_of, decode, hide, offsets, wide_codec_of
from schemas.hl7v2.escapes import Separators, unescape

#: MSH has 25 (v2.9), and nobody looks behind them
_HEADER_FIELDS = 32
_LINE_END = re.compile("\r\n|\r|\n")
#: what the standard sends for "delete the stored value" (2.5.3): for a reader, no value
_NULL = '""'


def header_line(data: bytes) -> bytes:
    """The MSH segment without its line end. Raises MalformedMessage when the bytes do not begin with one."""
    skipped = 0
    if not data.startswith(b"MSH"):
        start = data[:64].removeprefix(BOM_UTF8).lstrip(b"\r\n")
        skipped = len(data[:64]) - len(start)
    mark = data[skipped + 3 : skipped + 4]
    if not data.startswith(b"MSH", skipped) or len(data) - skipped < 8 or mark.isalnum() or mark in b"\r\n":
        raise MalformedMessage("read", "MSH", "the bytes do not begin with an MSH segment")
    end = data.find(b"\r", skipped)
    end = len(data) if end < 0 else end
    line_feed = data.find(b"\n", skipped, end)
    return data[skipped : end if line_feed < 0 else line_feed]


def holds_second_message(content: bytes) -> bool:
    """A second MSH in what begins with one: two messages glued together, of which one answer would hide the other."""
    start = content[:64].find(b"MSH")
    if content.find(b"MSH", start + 4) < 0:
        return False  # nearly all of them
    mark = content[start : start + 4]
    return any(content.find(end + mark, start + 4) >= 0 for end in (b"\r", b"\n", BOM_UTF8))


def header_fields(line: str, separators: Separators, default_charset: str) -> list[str]:
    """Of an MSH line read as Latin-1, one character a byte; the first is its name. In Big5 the second byte of the last character
    of "hospital" (MSH-4) is a field separator, and what says that it is none is MSH-18, behind it: of the sets that are named
    there the one is right under which it is MSH-18 that names it."""
    fields = line.split(separators.field, _HEADER_FIELDS)
    if line.isascii() and "\x1b" not in line:
        return fields
    for charset in (*filter(str.strip, fields[17:]), ""):
        try:
            codec = codec_of(charset, default_charset, separators.repetition or "~")
        except UnsupportedMessage:
            continue
        hidden = hide(line, codec).split(separators.field, _HEADER_FIELDS)
        if "".join(hidden[17:18]).strip() == charset.strip():
            ends = list(accumulate(len(field) + 1 for field in hidden))
            return [line[end - 1 - len(field) : end - 1] for field, end in zip(hidden, ends, strict=True)]
    return fields


def _part(raw: str, component: int, subcomponent: int, separators: Separators, codec: str) -> str:
    """A subcomponent of one repetition, decoded and stripped; "" where absent or null."""
    separator = separators.component
    if separator and separator in raw:
        raw = _nth(raw, separator, component)
    elif component != 1:
        return ""
    separator = separators.subcomponent
    if separator and separator in raw:
        raw = _nth(raw, separator, subcomponent)
    elif subcomponent != 1:
        return ""
    raw = raw.strip()
    if raw == _NULL:
        return ""
    escape = separators.escape
    return unescape(raw, separators, codec).strip() if escape and escape in raw else raw


def _nth(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One repetition of a field, as sent; components and subcomponents are counted from 1, as in the standard."""

    raw: str
    separators: Separators
    codec: str

    @property
    def text(self) -> str:
        """The whole repetition with escapes decoded: for data types without components (ST, TX, FT, DTM)."""
        return "" if self.raw == _NULL else unescape(self.raw, self.separators, self.codec)

    def component(self, number: int, subcomponent: int = 1) -> str:
        """Decoded and stripped; "" where absent or null."""
        return _part(self.raw, number, subcomponent, self.separators, self.codec)

    def whole(self, number: int) -> str:
        """A component with its subcomponents, decoded, not stripped: for text whose writer did not escape every `&`."""
        separator = self.separators.component
        raw = _nth(self.raw, separator, number) if separator else self.raw if number == 1 else ""
        return unescape(raw, self.separators, self.codec)


class Segment:
    """One segment; fields are counted from 1, as in the standard (MSH-1 is the field separator itself)."""

    __slots__ = ("_split", "codec", "line", "name", "separators")

    def __init__(self, line: str, separators: Separators, codec: str) -> None:
        self.line = line
        self.name = line[:3]
        self.separators = separators
        self.codec = codec
        self._split: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """As sent: escapes, repetitions and all; the first is the name of the segment."""
        if self._split is None:
            self._split = self.line.split(self.separators.field)
            if self.name == "MSH":
                self._split.insert(1, self.separators.field)
        return self._split

    def field(self, number: int) -> str:
        """As sent; "" where absent."""
        fields = self._split or self.fields
        return fields[number] if number < len(fields) else ""

    def repetitions(self, number: int) -> list[Repetition]:
        """The repetitions that hold anything."""
        field, separator = self.field(number), self.separators.repetition
        raws = field.split(separator) if separator else [field]
        return [Repetition(raw, self.separators, self.codec) for raw in raws if raw.strip()]

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Of the first repetition, decoded and stripped; "" where absent or null."""
        fields = self._split or self.fields
        raw = fields[number] if number < len(fields) else ""
        if not raw:
            return ""
        separators = self.separators
        if separators.all_marks and raw.isalnum():  # most values: no part of anything
            return raw if component == 1 == subcomponent else ""
        if separators.repetition and separators.repetition in raw:
            raw = raw.split(separators.repetition, 1)[0]
        return _part(raw, component, subcomponent, separators, self.codec)


class Message:
    """`raw` is what was received, untouched; `codec` reads it, `charset` is its name: MSH-18 as sent, or the default of table
    0211; `undecodable_at` is the offset of the first byte that had to be substituted by U+FFFD, None when all decoded."""

    def __init__(self, raw: bytes, charset: str, codec: str, text: str, undecodable_at: int | None, mark: int = 0) -> None:
        self.raw = raw
        self.charset = charset
        self.codec = codec
        self.undecodable_at = undecodable_at
        self.separators = Separators.of(text.lstrip("\r\n"))
        self._text = text
        self._mark = mark  # the length of the byte order mark

    @classmethod
    def parse(cls, data: bytes, default_charset: str = "UNICODE UTF-8") -> Message:
        """`default_charset` (table 0211) is for an empty MSH-18. UTF-16 and UTF-32 are known by their byte order mark or by
        the pattern of their first bytes, whatever MSH-18 says. Raises MalformedMessage (no MSH), UnsupportedMessage (a
        character set that is not read)."""
        codec, mark = ("", 0) if data.startswith(b"MSH") else wide_codec_of(data)
        charset = codec
        if codec:
            begins = data[mark : mark + 256].decode(codec, "replace")
            header_line(begins.replace("\ufeff", SUBSTITUTE).encode())  # a second byte order mark is none
        else:
            charset, codec = cls._declared(data, default_charset)
        text, at = decode(data[mark:] if mark else data, codec)
        return cls(data, charset, codec, text, None if at is None else at + mark, mark)

    @staticmethod
    def _declared(data: bytes, default_charset: str) -> tuple[str, str]:
        """What MSH-18 names, and its codec."""
        header = header_line(data).decode("latin-1")
        separators = Separators.of(header)
        fields = header_fields(header, separators, default_charset)
        told = fields[17].strip() if len(fields) > 17 else ""
        return told or default_charset, codec_of(told, default_charset, separators.repetition or "~")

    @cached_property
    def segments(self) -> list[Segment]:
        """In order; CR, LF and CRLF end a segment; empty lines are none."""
        lines = self._text.replace("\n", "\r").split("\r")
        return [Segment(line, self.separators, self.codec) for line in lines if line]

    @cached_property
    def lines(self) -> list[int]:
        """For each of `segments` the line of the received text on which it stands, from 1; CR, LF and CRLF end a line."""
        return [number for number, line in enumerate(_LINE_END.split(self._text), 1) if line]

    def undecodable_in(self, segment: Segment, field: int) -> int | None:
        """The offset in `raw` of the first byte of this field that did not decode; None when all did: then a U+FFFD in it was
        sent, or made by an escape sequence."""
        before = sum(segment.field(number).count(SUBSTITUTE) for number in range(field))
        for other in self.segments:
            if other is segment:
                break
            before += other.line.count(SUBSTITUTE)
        found = offsets(self.raw[self._mark :], self.codec)[before : before + segment.field(field).count(SUBSTITUTE)]
        return next((self._mark + at for at in found if at is not None), None)

    @property
    def header(self) -> Segment:
        """MSH"""
        return self.segments[0]

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    @cached_property
    def _firsts(self) -> dict[str, Segment]:
        return {segment.name: segment for segment in reversed(self.segments)}

    def first(self, name: str) -> Segment | None:
        return self._firsts.get(name)

    @property
    def type(self) -> tuple[str, str]:
        """MSH-9.1 and MSH-9.2, upper case: ("ORM", "O01")."""
        return self.header.value(9, 1).upper(), self.header.value(9, 2).upper()

    @property
    def message_control_id(self) -> str:
        """MSH-10"""
        return self.header.value(10)

    def __bytes__(self) -> bytes:
        return self.raw
