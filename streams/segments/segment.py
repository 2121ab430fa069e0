"""A closed segment that is read (`streams.segments.segment_format`)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256

import zstandard
from pydantic import ValidationError

from schemas.errors import InvalidResource
from schemas.moments import ceiling, milliseconds
from schemas.ports import Record
from streams.segments.names import SegmentName
from streams.segments.record_bytes import read
from streams.segments.segment_format import (
    FOOTER,
    FOOTER_CONTENT,
    FOOTER_SIZE,
    HEADER,
    INDEX,
    SKIPPABLE,
    VERSION,
    WORD,
    Frame,
    Header,
    Index,
)


class Segment:
    """A file that is read. Raises InvalidResource when it is not whole, or not what its name says; of the frames only those are
    looked at that are read."""

    def __init__(self, name: SegmentName, file: bytes) -> None:
        self.name = name
        self._file = file
        #: who reads record by record reads the same frame many times
        self._last: tuple[Frame, list[Record]] | None = None
        if len(file) < FOOTER_SIZE:
            raise self._invalid("the end", "the file is cut off")
        content = self._skippable(len(file) - FOOTER_SIZE, FOOTER, "the footer")
        if len(content) != FOOTER_CONTENT.size:
            raise self._invalid("the footer", "has another size")
        at, digest, word = FOOTER_CONTENT.unpack(content)
        if word != WORD:
            raise self._invalid("the footer", "is none of a segment")
        header = self._skippable(0, HEADER, "the header")
        begin = SKIPPABLE.size + len(header)
        end = len(file) - FOOTER_SIZE
        if not begin <= at <= end or sha256(file[:begin] + file[at:end]).digest() != digest:
            raise self._invalid("header and index", "are not what the footer's digest says")
        index = self._skippable(at, INDEX, "the index")
        self.frames = self._frames(header, index, begin, at)
        if at + SKIPPABLE.size + len(index) != end:
            raise self._invalid("the index", "is followed by something else")

    def _frames(self, header: bytes, index: bytes, at: int, end: int) -> tuple[Frame, ...]:
        try:
            told, indexed = Header.model_validate_json(header), Index.model_validate_json(index)
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
            or milliseconds(max(record.timestamp for record in records)) != frame.latest
        ):
            raise self._invalid(where, "holds other records than the index says")
        return records

    def _skippable(self, at: int, magic: int, where: str) -> bytes:
        """Content of the skippable frame there."""
        if at + SKIPPABLE.size > len(self._file):
            raise self._invalid(where, "is cut off")
        found, size = SKIPPABLE.unpack_from(self._file, at)
        if found != magic:
            raise self._invalid(where, "is missing: this is no segment, or it was cut off")
        at += SKIPPABLE.size
        if at + size > len(self._file):
            raise self._invalid(where, "is cut off")
        return self._file[at : at + size]

    def _invalid(self, where: str, what: str) -> InvalidResource:
        return InvalidResource("segments", str(self.name), f"{where} {what}")
