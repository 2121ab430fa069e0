"""The MSH segment alone, read from bytes before anything is decoded: what an acknowledgement needs."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.hl7v2.charset import codec_of, decode
from schemas.hl7v2.escapes import Separators
from schemas.hl7v2.message import Message, header_fields, header_line


@dataclass(frozen=True, slots=True)
class Header:
    """Fields of MSH counted from 1. They are held as Latin-1, one character a byte, so that what goes back to the sender
    (MSA-2 above all) is byte for byte what it sent, in whatever character set."""

    separators: Separators
    fields: tuple[str, ...]

    @classmethod
    def read(cls, data: bytes, default_charset: str = "ASCII") -> Header:
        """`default_charset` (table 0211) is for an empty MSH-18. Raises MalformedMessage when the bytes do not begin with an MSH
        segment."""
        line = header_line(data).decode("latin-1")
        if line[3:4] < " ":  # none, or a start or end block: no answer could be written with it
            raise MalformedMessage("read", "MSH-1", "a control character is no field separator")
        separators = Separators.of(line)
        name, *rest = header_fields(line, separators, default_charset)
        return cls(separators, (name, separators.field, *rest))

    @classmethod
    def of(cls, message: Message) -> Header:
        """Of a message that was parsed. Of one in UTF-16 or UTF-32, what is no Latin-1 is a question mark: it says nothing of type,
        version or environment."""
        try:
            return cls.read(message.raw, message.charset)
        except MalformedMessage:
            return cls.read(message.header.line.encode("latin-1", "replace"), message.charset)

    def field(self, number: int) -> str:
        """As sent; "" where absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def component(self, number: int, component: int) -> str:
        """Of the first repetition; "" where absent."""
        first = self.field(number).split(self.separators.repetition or "\0", 1)[0]
        parts = first.split(self.separators.component or "\0")
        return parts[component - 1] if component <= len(parts) else ""

    def text(self, number: int, default_charset: str) -> str:
        """A field, stripped, in the message's own character set (MSH-18)."""
        field = self.field(number).strip()
        if field.isascii() and "\x1b" not in field:
            return field
        try:
            codec = codec_of(self.field(18), default_charset, self.separators.repetition or "~")
        except UnsupportedMessage:
            codec = "latin-1"  # a text all the same: the normaliser refuses the message, with its bytes kept
        return decode(field.encode("latin-1"), codec)[0]

    def sender_key(self, default_charset: str) -> str:
        """MSH-3|MSH-4 in the message's own character set: the key of the sender on the log."""
        return f"{self.text(3, default_charset)}|{self.text(4, default_charset)}"
