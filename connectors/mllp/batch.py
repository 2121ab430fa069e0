"""FHS/BHS batches (HL7 v2.5.1 2.10.3): [FHS] { [BHS] { MSH ... } [BTS] } [FTS], all in one frame.

A batch comes apart into its messages. Every byte is in exactly one of the parts: the lines of the envelope go with the message
that they stand before, those behind the last message with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from schemas.errors import MalformedMessage
from schemas.hl7v2.escapes import Separators
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import header_fields

#: what the envelope of one message may hold: it travels in the headers of a record
ENVELOPE_LIMIT = 8 * 1024
#: headers and trailers of a batch: nobody else is heard while they are told apart, 20 MB of the shortest took 25 s
_LINES = 50_000

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:FHS|BHS)(?![A-Za-z0-9])")
_LINE = re.compile(rb"(?:(?<=[\r\n])|\A)(?:\xef\xbb\xbf)?(FHS|BHS|BTS|FTS|MSH)(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a batch; `before` and `behind` are lines of the envelope, with their line ends."""

    content: bytes
    before: bytes
    behind: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """`miscounted`: a BTS-1 that says another number of messages than there are."""

    parts: tuple[Part, ...]
    miscounted: bool


def is_batch(content: bytes) -> bool:
    return content[:1] != b"M" and _BEGINNING.match(content) is not None


def split(content: bytes) -> Batch:
    """Raises MalformedMessage for what is no batch by the grammar above (trailers may be missing: the frame has its own end),
    for one without a message, and for an envelope over ENVELOPE_LIMIT or one that holds more than _LINES such lines."""
    lines = list(islice(_LINE.finditer(content), _LINES + 1))
    if len(lines) > _LINES:
        raise MalformedMessage("read", "BHS", f"a batch of more than {_LINES} messages")
    ends = [line.start() for line in lines[1:]] + [len(content)]
    parts: list[Part] = []
    miscounted = False
    before, state, counted = content[: lines[0].start()], "", 0
    for line, end in zip(lines, ends, strict=True):
        name, piece = line[1].decode("ascii"), content[line.start() : end]
        if (state, name) not in _MAY_FOLLOW:
            raise MalformedMessage("read", name, f"a batch in which {name} follows {state or 'nothing'}")
        if name == "MSH":
            parts.append(Part(piece, before))
            before, counted = b"", counted + 1
        else:
            body = piece.rstrip(b"\r\n")
            if b"\r" in body or b"\n" in body:
                raise MalformedMessage("read", name, "a batch with a segment that belongs to no message")
            if name == "BHS":
                counted = 0
            miscounted = miscounted or (name == "BTS" and _said(body) not in (None, counted))
            before += piece
        if len(before) > ENVELOPE_LIMIT:
            raise MalformedMessage("read", name, f"a batch whose envelope is over {ENVELOPE_LIMIT} bytes")
        state = name
    if not parts:
        raise MalformedMessage("read", "BHS", "a batch without a message")
    parts[-1] = Part(parts[-1].content, parts[-1].before, before)
    return Batch(tuple(parts), miscounted)


#: (the line before, this line)
_MAY_FOLLOW = frozenset(
    (before, name)
    for name, those in {
        "FHS": ("",),
        "BHS": ("", "FHS", "MSH", "BTS"),
        "MSH": ("FHS", "BHS", "MSH", "BTS"),
        "BTS": ("BHS", "MSH"),
        "FTS": ("FHS", "MSH", "BTS"),
    }.items()
    for before in those
)


def _said(trailer: bytes) -> int | None:
    """BTS-1; None when it says no number."""
    said = trailer[4:].split(trailer[3:4], 1)[0].strip() if len(trailer) > 4 else b""
    return int(said) if said.isdigit() and len(said) < 10 else None


def header_of(content: bytes, default_charset: str) -> Header | None:
    """BHS or FHS as the MSH that an answer to the whole batch is made of: sender and receiver stand in the same fields, the
    control id is BHS-11; its character set is the listener's default (table 0211), for it names none. None when it has no field
    separator."""
    found = _LINE.search(content)
    line = re.split(rb"[\r\n]", content[found.start(1) :], maxsplit=1)[0].decode("latin-1") if found else ""
    if line[3:4] < " ":
        return None
    separators = Separators.of(line)
    fields = ["MSH", separators.field, *header_fields(line, separators, default_charset)[1:]]
    fields += [""] * (12 - len(fields))
    return Header(separators, (*fields[:9], "", fields[11], "", ""))
