"""Records as a log may hold them, and the segments they make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import strategies as st

from schemas.moments import moment_of
from schemas.ports import Place, Record
from streams.segments.open_segment import OpenSegment
from streams.segments.segment import Segment

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
