"""The file of a closed segment: records of one partition, compressed, to be read by offset or by time.

It is a Zstandard stream (RFC 8878), so that any tool can unpack the records: a skippable frame with the header (JSON), frames of
about 1 MiB of records each, a skippable frame with the index (JSON), and one of fixed size as the footer. The footer's SHA-256
covers header and index, the index has the SHA-256 of each frame, and nothing stands between: no byte can change unseen. As a table:
docs/segments.md."""

from __future__ import annotations

import struct
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.findings import Digest

#: a later form has another number, and is refused
VERSION = 1
#: of a frame that is read: one record of the largest kind, many times over
_FRAME_LIMIT = 256 * 1024 * 1024

#: RFC 8878, 3.1.2: 0x184D2A5? and the size of the content, little-endian
SKIPPABLE = struct.Struct("<II")
HEADER, INDEX, FOOTER = 0x184D2A50, 0x184D2A51, 0x184D2A52
#: where the index frame begins, SHA-256 of header frame and index frame, our own word
FOOTER_CONTENT = struct.Struct("<Q32s8s")
FOOTER_SIZE = SKIPPABLE.size + FOOTER_CONTENT.size
WORD = b"radsegm\n"

_Whole = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Header(_Part):
    format: Literal["radstream.segment"] = "radstream.segment"
    version: int = VERSION
    topic: str
    partition: _Whole


class Frame(_Part):
    """`at`, `length`: its place in the file, in bytes; `size`: unpacked. `first`, `last`: offsets of its records; `latest`: of
    their timestamps, in ms. `sha256`: of its bytes in the file."""

    at: _Whole
    length: _Whole
    size: Annotated[int, Field(gt=0, le=_FRAME_LIMIT)]
    first: _Whole
    last: _Whole
    records: Annotated[int, Field(gt=0)]
    latest: int
    sha256: Digest


class Index(_Part):
    first: _Whole
    end: _Whole
    frames: Annotated[tuple[Frame, ...], Field(min_length=1, strict=False)]


def skippable(magic: int, content: bytes) -> bytes:
    """The frame that every Zstandard tool passes over."""
    return SKIPPABLE.pack(magic, len(content)) + content
