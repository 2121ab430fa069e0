"""The messages of a file: one or several, as they are, in MLLP frames or in FHS/BHS batches, with any line ends, also UTF-16."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.hl7v2.charset import wide_codec_of

#: MLLP release 1: start block, end block
_START, _END = b"\x0b", b"\x1c"
_LINE = re.compile(rb"([^\r\n\x1c]*)(\x1c|\r\n|\r|\n|\Z)")
#: HL7 v2.5.1 2.10.3; a name is followed by the field separator
_ENVELOPE = re.compile(rb"(FHS|BHS|BTS|FTS)(?![A-Za-z0-9])")
_MESSAGE = re.compile(rb"MSH(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Piece:
    """`line`: on which line of the file it begins, from 1. Not `is_message`: lines that belong to none."""

    line: int
    content: bytes
    is_message: bool = True


def pieces_of(data: bytes) -> Iterator[Piece]:
    """In the order of the file. A message ends where the next begins, at the end of its frame, or at a line of a batch's
    envelope."""
    codec, mark = wide_codec_of(data)
    if codec:  # split as UTF-8, whose every byte of these line ends and names is one
        try:
            text = data[mark:].decode(codec)
        except UnicodeDecodeError:
            yield Piece(1, data)  # in one: its reader says at which byte it breaks
            return
        for piece in _pieces(text.encode("utf-8")):
            yield Piece(piece.line, piece.content.decode("utf-8").encode(codec), piece.is_message)
    else:
        yield from _pieces(data)


def _pieces(data: bytes) -> Iterator[Piece]:
    held: list[bytes] = []
    number = begun = 1
    within = False
    for match in _LINE.finditer(data):
        text, end = match.groups()
        line = text.removeprefix(_START).removeprefix(BOM_UTF8)
        begins, envelope = _MESSAGE.match(line) is not None, _ENVELOPE.match(line) is not None
        if begins or envelope or text.startswith(_START):
            yield from _piece(begun, held, within)
            held, begun, within = [], number, begins
        if not envelope:
            held.append(line if end == _END else line + end)
        if end == _END:
            yield from _piece(begun, held, within)
            held, begun, within = [], number, False
        else:
            number += 1
    yield from _piece(begun, held, within)


def _piece(line: int, lines: list[bytes], is_message: bool) -> Iterator[Piece]:
    content = b"".join(lines)
    if content.strip():
        empty = 0 if is_message else next(number for number, text in enumerate(lines) if text.strip())
        yield Piece(line + empty, content, is_message)
