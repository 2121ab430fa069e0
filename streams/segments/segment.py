"""The file of a closed segment: records of one partition, compressed, to be read by offset or by time.

It is a Zstandard stream (RFC 8878), so that any tool can unpack the records: a skippable frame with the header (JSON), frames of
about 1 MiB of records each, a skippable frame with the index (JSON), and one of fixed size as the footer. The footer's SHA-256
covers header and index, the index has the SHA-256 of each frame, and nothing stands between: no byte can change unseen. As a table:
docs/segments.md."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Literal

import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import InvalidResource
from schemas.findings import Digest
from schemas.moments import ceiling, milliseconds
from schemas.ports import Record
from streams.segments.names import SegmentName
from streams.segments.record_bytes import read, written

#: a later form has another number, and is refused
VERSION = 1
#: records of one frame, in bytes before compression: the last one may go past it
FRAME = 1024 * 1024
#: of a frame that is read: one record of the largest kind, many times over
_FRAME_LIMIT = 256 * 1024 * 1024
_LEVEL = 3

#: RFC 8878, 3.1.2: 0x184D2A5? and the size of the content, little-endian
_SKIPPABLE = struct.Struct("<II")
_HEADER, _INDEX, _FOOTER = 0x184D2A50, 0x184D2A51, 0x184D2A52
#: where the index frame begins, SHA-256 of header frame and index frame, our own word
_FOOTER_CONTENT = struct.Struct("<Q32s8s")
_FOOTER_SIZE = _SKIPPABLE.size + _FOOTER_CONTENT.size
_WORD = b"radsegm\n"

_Whole = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Header(_Part):
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


class _Index(_Part):
    first: _Whole
    end: _Whole
    frames: Annotated[tuple[Frame, ...], Field(min_length=1, strict=False)]


class OpenSegment:
    """One that still grows; its frames are compressed as they fill. `first`: what it covers from, be there a record or not;
    `frame`: bytes of records, from which on a frame is full."""

    def __init__(self, topic: str, partition: int, first: int, *, frame: int = FRAME) -> None:
        self.topic, self.partition, self.first, self.end = topic, partition, first, first
        self._frame = frame
        #: bytes of its records, before compression
        self.size = 0
        #: timestamp of its first record
        self.begun: datetime | None = None
        self._packed: list[tuple[Frame, bytes]] = []
        self._at = len(self._header())
        self._waiting: list[bytes] = []
        self._waiting_size, self._offsets, self._latest = 0, (0, 0), 0

    def add(self, record: Record) -> None:
        """Raises ValueError for one that does not come after the last."""
        place = record.place
        if (place.topic, place.partition) != (self.topic, self.partition) or place.offset < self.end:
            raise ValueError(f"{place} is not next in {self.topic}/{self.partition}/{self.first}-{self.end}")
        told, time = written(record), milliseconds(record.timestamp)
        self.begun = self.begun or record.timestamp
        self._offsets = self._offsets[0] if self._waiting else place.offset, place.offset
        self._latest = max(self._latest, time) if self._waiting else time
        self._waiting.append(told)
        self._waiting_size += len(told)
        self.size += len(told)
        self.end = place.offset + 1
        if self._waiting_size >= self._frame:
            self._pack()

    def cover(self, end: int) -> None:
        """Up to there the log has no further record: a transaction's marker is none, but has an offset."""
        self.end = max(self.end, end)

    def closed(self) -> tuple[SegmentName, bytes]:
        """Name and file. Raises ValueError when there is no record in it."""
        if self.begun is None:
            raise ValueError("a segment without records")
        if self._waiting:
            self._pack()
        frames = tuple(frame for frame, _ in self._packed)
        header = self._header()
        index = _skippable(_INDEX, _Index(first=self.first, end=self.end, frames=frames).model_dump_json().encode("ascii"))
        digest = sha256(header + index).digest()
        footer = _skippable(_FOOTER, _FOOTER_CONTENT.pack(self._at, digest, _WORD))
        latest = max(frame.latest for frame in frames)
        name = SegmentName(self.topic, self.partition, self.first, self.end, latest)
        return name, b"".join([header, *(packed for _, packed in self._packed), index, footer])

    def _header(self) -> bytes:
        return _skippable(_HEADER, _Header(topic=self.topic, partition=self.partition).model_dump_json().encode("utf-8"))

    def _pack(self) -> None:
        packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(b"".join(self._waiting))
        frame = Frame(
            at=self._at,
            length=len(packed),
            size=self._waiting_size,
            first=self._offsets[0],
            last=self._offsets[1],
            records=len(self._waiting),
            latest=self._latest,
            sha256=sha256(packed).hexdigest(),
        )
        self._packed.append((frame, packed))
        self._at += len(packed)
        self._waiting, self._waiting_size = [], 0


class Segment:
    """A file that is read. Raises InvalidResource when it is not whole, or not what its name says; of the frames only those are
    looked at that are read."""

    def __init__(self, name: SegmentName, file: bytes) -> None:
        self.name = name
        self._file = file
        #: who reads record by record reads the same frame many times
        self._last: tuple[Frame, list[Record]] | None = None
        if len(file) < _FOOTER_SIZE:
            raise self._invalid("the end", "the file is cut off")
        content = self._skippable(len(file) - _FOOTER_SIZE, _FOOTER, "the footer")
        if len(content) != _FOOTER_CONTENT.size:
            raise self._invalid("the footer", "has another size")
        at, digest, word = _FOOTER_CONTENT.unpack(content)
        if word != _WORD:
            raise self._invalid("the footer", "is none of a segment")
        header = self._skippable(0, _HEADER, "the header")
        begin = _SKIPPABLE.size + len(header)
        end = len(file) - _FOOTER_SIZE
        if not begin <= at <= end or sha256(file[:begin] + file[at:end]).digest() != digest:
            raise self._invalid("header and index", "are not what the footer's digest says")
        index = self._skippable(at, _INDEX, "the index")
        self.frames = self._frames(header, index, begin, at)
        if at + _SKIPPABLE.size + len(index) != end:
            raise self._invalid("the index", "is followed by something else")

    def _frames(self, header: bytes, index: bytes, at: int, end: int) -> tuple[Frame, ...]:
        try:
            told, indexed = _Header.model_validate_json(header), _Index.model_validate_json(index)
        except ValidationError:
            raise self._invalid("header or index", "is not as this version writes it") from None
        if told.version != VERSION:
            raise self._invalid("the header", f"format version {told.version}: a later radstream wrote it")
        after = indexed.first
        for frame in indexed.frames:
            if frame.at != at or frame.first < after or frame.last < frame.first:
                raise self._invalid(f"the frame at byte {frame.at}", "is not where the one before ends")
            at, after = frame.at + frame.length, frame.last + 1
        latest = max(frame.latest for frame in indexed.frames)
        says = told.topic, told.partition, indexed.first, indexed.end, latest
        name = self.name
        if says != (name.topic, name.partition, name.first, name.end, name.latest):
            raise self._invalid("header and index", "are of another segment than the name says")
        if at != end or after > indexed.end:
            raise self._invalid("the index", "does not tell all frames")
        return indexed.frames

    def records(self, first: int | None = None, end: int | None = None) -> Iterator[Record]:
        """From offset `first` up to `end` and not with it; None: all. Raises InvalidResource before a frame that is not what the
        index says."""
        first, end = self.name.first if first is None else first, self.name.end if end is None else end
        for frame in self.frames:
            if frame.last >= first and frame.first < end:
                yield from (record for record in self._unpacked(frame) if first <= record.place.offset < end)

    def since(self, moment: datetime, first: int = 0) -> int | None:
        """Offset of the first record, not before offset `first`, whose timestamp is not before `moment`. Raises as `records`."""
        not_before = ceiling(moment)
        for frame in self.frames:
            if frame.latest >= not_before and frame.last >= first:
                for record in self._unpacked(frame):
                    if record.place.offset >= first and record.timestamp >= moment:
                        return record.place.offset
        return None

    def _unpacked(self, frame: Frame) -> list[Record]:
        if self._last is None or self._last[0] is not frame:
            self._last = frame, self._checked(frame)
        return self._last[1]

    def check(self) -> None:
        """Every byte, and nothing is unpacked. Raises InvalidResource."""
        for frame in self.frames:
            self._packed(frame)

    def _packed(self, frame: Frame) -> bytes:
        packed = self._file[frame.at : frame.at + frame.length]
        if sha256(packed).hexdigest() != frame.sha256:
            raise self._invalid(f"the frame at byte {frame.at}", "is not what its digest says")
        return packed

    def _checked(self, frame: Frame) -> list[Record]:
        where, packed = f"the frame at byte {frame.at}", self._packed(frame)
        try:
            if zstandard.frame_content_size(packed) != frame.size:
                raise self._invalid(where, "has another size than the index says")
            data = zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
            records = list(read(data, self.name.topic, self.name.partition))
        except (zstandard.ZstdError, struct.error, ValueError):
            raise self._invalid(where, "holds no records") from None
        offsets = [record.place.offset for record in records]
        if (
            len(records) != frame.records
            or (offsets[0], offsets[-1]) != (frame.first, frame.last)
            or offsets != sorted(set(offsets))
        ):
            raise self._invalid(where, "holds other records than the index says")
        return records

    def _skippable(self, at: int, magic: int, where: str) -> bytes:
        """Content of the skippable frame there."""
        if at + _SKIPPABLE.size > len(self._file):
            raise self._invalid(where, "is cut off")
        found, size = _SKIPPABLE.unpack_from(self._file, at)
        if found != magic:
            raise self._invalid(where, "is missing: this is no segment, or it was cut off")
        at += _SKIPPABLE.size
        if at + size > len(self._file):
            raise self._invalid(where, "is cut off")
        return self._file[at : at + size]

    def _invalid(self, where: str, what: str) -> InvalidResource:
        return InvalidResource("segments", str(self.name), f"{where} {what}")


def _skippable(magic: int, content: bytes) -> bytes:
    return _SKIPPABLE.pack(magic, len(content)) + content
