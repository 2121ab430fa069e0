"""A segment that is being written (`streams.segments.segment_format`)."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import zstandard

from schemas.moments import milliseconds
from schemas.ports import Record
from streams.segments.names import SegmentName
from streams.segments.record_bytes import written
from streams.segments.segment_format import FOOTER, FOOTER_CONTENT, HEADER, INDEX, WORD, Frame, Header, Index, skippable

#: records of one frame, in bytes before compression: the last one may go past it
FRAME = 1024 * 1024
_LEVEL = 3


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
        index = skippable(INDEX, Index(first=self.first, end=self.end, frames=frames).model_dump_json().encode("ascii"))
        digest = sha256(header + index).digest()
        footer = skippable(FOOTER, FOOTER_CONTENT.pack(self._at, digest, WORD))
        latest = max(frame.latest for frame in frames)
        name = SegmentName(self.topic, self.partition, self.first, self.end, latest)
        return name, b"".join([header, *(packed for _, packed in self._packed), index, footer])

    def _header(self) -> bytes:
        return skippable(HEADER, Header(topic=self.topic, partition=self.partition).model_dump_json().encode("utf-8"))

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
