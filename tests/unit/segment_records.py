"""Records as a log may hold them, and the segments they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate

from hypothesis import strategies as st

from schemas.moments import moment_of
from schemas.ports import Place, Record
from streams.segments.names import SegmentName
from streams.segments.open_segment import OpenSegment
from streams.segments.segment import Segment
from streams.segments.segment_format import FOOTER, FOOTER_CONTENT, INDEX, WORD, Index, skippable

TOPIC, PARTITION = "hl7.v2.raw", 3
#: Kafka has -1 for none; a foreign producer may write any other
_TIMES = st.one_of(st.just(-1), st.integers(1_700_000_000_000, 1_900_000_000_000), st.integers(-1, 253_370_764_800_000))
_BYTES = st.binary(max_size=60)


@st.composite
def some_records(draw: st.DrawFn, least: int = 1) -> list[Record]:
    """Of one partition; offsets have holes, as transactions and compaction leave them."""
    steps = draw(st.lists(st.integers(1, 5), min_size=least, max_size=25))
    start = draw(st.integers(0, 2**62))
    headers = st.lists(st.tuples(st.text(max_size=12), _BYTES), max_size=4).map(tuple)
    return [
        Record(
            Place(TOPIC, PARTITION, start + at),
            draw(st.none() | _BYTES),
            draw(_BYTES),
            draw(headers),
            moment_of(draw(_TIMES)),  # as Kafka's connector reads it: exact, however far
        )
        for at in accumulate(steps)
    ]


def file_of(records: Sequence[Record], *, first: int | None = None, frame: int = 200) -> tuple[Segment, bytes]:
    """Of several small frames; opened again, and its bytes."""
    start = records[0].place.offset if first is None else first
    growing = OpenSegment(records[0].place.topic, records[0].place.partition, start, frame=frame)
    for record in records:
        growing.add(record)
    name, file = growing.closed()
    return Segment(name, file), file


def backdated(name: SegmentName, file: bytes, latest: int) -> tuple[SegmentName, bytes]:
    """The same records, of which name and index say that all are not later than this; every digest is right."""
    frames = tuple(one.model_copy(update={"latest": min(one.latest, latest)}) for one in Segment(name, file).frames)
    begin, at = frames[0].at, frames[-1].at + frames[-1].length
    index = skippable(INDEX, Index(first=name.first, end=name.end, frames=frames).model_dump_json().encode("ascii"))
    footer = skippable(FOOTER, FOOTER_CONTENT.pack(at, sha256(file[:begin] + index).digest(), WORD))
    return replace(name, latest=max(one.latest for one in frames)), file[:at] + index + footer
