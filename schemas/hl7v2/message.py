"""An ER7 message, split as far as somebody asks. Tolerant of what senders do (line ends, byte order mark, missing
trailing fields); it never changes a byte of what it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from schemas.errors import MalformedMessage
from schemas.hl7v2.charset import codec_of, decode
from schemas.hl7v2.escapes import Separators, unescape

_BOM = b"\xef\xbb\xbf"
#: what the standard sends for "delete the stored value" (2.5.3): for a reader, no value
_NULL = '""'


def header_line(data: bytes) -> bytes:
    """The MSH segment without its line end. Raises MalformedMessage when the bytes do not begin with one."""
    start = data[:64].removeprefix(_BOM).lstrip(b"\r\n")
    skipped = len(data[:64]) - len(start)
    if not start.startswith(b"MSH") or len(start) < 8 or start[3:4].isalnum():
        raise MalformedMessage("read", "MSH", "the bytes do not begin with an MSH segment")
    ends = [end for end in (data.find(b"\r", skipped), data.find(b"\n", skipped)) if end >= 0]
    return data[skipped : min(ends, default=len(data))]


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
        part = _nth(self.raw, self.separators.component, number)
        part = _nth(part, self.separators.subcomponent, subcomponent).strip()
        return "" if part == _NULL else unescape(part, self.separators, self.codec).strip()


def _nth(text: str, separator: str, number: int) -> str:
    if not separator or separator not in text:
        return text if number == 1 else ""
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


class Segment:
    """One segment; fields are counted from 1, as in the standard (MSH-1 is the field separator itself)."""

    __slots__ = ("_fields", "codec", "line", "name", "separators")

    def __init__(self, line: str, separators: Separators, codec: str) -> None:
        self.line = line
        self.name = line[:3]
        self.separators = separators
        self.codec = codec
        self._fields: list[str] | None = None

    def field(self, number: int) -> str:
        """As sent: escapes, repetitions and all; "" where absent."""
        if self._fields is None:
            self._fields = self.line.split(self.separators.field)
            if self.name == "MSH":
                self._fields.insert(1, self.separators.field)
        return self._fields[number] if number < len(self._fields) else ""

    def repetitions(self, number: int) -> list[Repetition]:
        """The repetitions that hold anything."""
        field, separator = self.field(number), self.separators.repetition
        raws = field.split(separator) if separator else [field]
        return [Repetition(raw, self.separators, self.codec) for raw in raws if raw.strip()]

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Of the first repetition, decoded and stripped; "" where absent or null."""
        field, separator = self.field(number), self.separators.repetition
        raw = field.split(separator, 1)[0] if separator and separator in field else field
        return Repetition(raw, self.separators, self.codec).component(component, subcomponent) if raw else ""


class Message:
    """`raw` is what was received, untouched; `codec` reads it; `undecodable_at` is the offset (from the first byte after
    a byte order mark) of the first byte that had to be substituted by U+FFFD, None when all decoded."""

    def __init__(self, raw: bytes, codec: str, text: str, undecodable_at: int | None) -> None:
        self.raw = raw
        self.codec = codec
        self.undecodable_at = undecodable_at
        self.separators = Separators.of(text.lstrip("\r\n"))
        self._text = text

    @classmethod
    def parse(cls, data: bytes, default_charset: str = "UNICODE UTF-8") -> Message:
        """`default_charset` (table 0211) is for an empty MSH-18. Raises MalformedMessage (no MSH), UnsupportedMessage
        (a character set that is not read)."""
        header = header_line(data).decode("latin-1")
        separators = Separators.of(header)
        fields = header.split(separators.field)
        charset = fields[17] if len(fields) > 17 else ""
        codec = codec_of(charset, default_charset, separators.repetition or "~")
        text, undecodable_at = decode(data.removeprefix(_BOM), codec)
        return cls(data, codec, text, undecodable_at)

    @cached_property
    def segments(self) -> list[Segment]:
        """In order; CR, LF and CRLF end a segment; empty lines are none."""
        lines = self._text.replace("\n", "\r").split("\r")
        return [Segment(line, self.separators, self.codec) for line in lines if line]

    @property
    def header(self) -> Segment:
        """MSH"""
        return self.segments[0]

    def all(self, name: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        return next(self.all(name), None)

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
