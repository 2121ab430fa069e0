"""The file of a closed segment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidResource
from schemas.ports import Place, Record
from streams.segments.names import SegmentName, segment_name
from streams.segments.open_segment import OpenSegment
from streams.segments.record_bytes import read
from streams.segments.segment import Segment
from tests.unit.segment_records import PARTITION, TOPIC, backdated, file_of, some_records

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def plain(count: int, start: int = 0) -> list[Record]:
    return [
        Record(Place(TOPIC, PARTITION, n), b"k%d" % n, b"value %d" % n, (("ce_id", b"%d" % n),), NOON + timedelta(seconds=n))
        for n in range(start, start + count)
    ]


@settings(max_examples=50)
@given(some_records())
def test_every_byte_of_every_record_comes_back(records: list[Record]) -> None:
    segment, _ = file_of(records)
    assert list(segment.records()) == records


@settings(max_examples=50)
@given(some_records(), st.data())
def test_any_part_is_exactly_that_part(records: list[Record], data: st.DataObject) -> None:
    segment, _ = file_of(records)
    offsets = st.integers(segment.name.first - 2, segment.name.end + 2)
    first, end = sorted((data.draw(offsets), data.draw(offsets)))
    assert list(segment.records(first, end)) == [one for one in records if first <= one.place.offset < end]


@settings(max_examples=50)
@given(some_records(), st.data())
def test_since_is_the_first_that_is_not_before(records: list[Record], data: st.DataObject) -> None:
    segment, _ = file_of(records)
    near = st.sampled_from([one.timestamp for one in records])
    moment = data.draw(near) + timedelta(microseconds=data.draw(st.integers(-2000, 2000)))
    expected = next((one.place.offset for one in records if one.timestamp >= moment), None)
    assert segment.since(moment) == expected


@settings(max_examples=50)
@given(some_records(), st.data())
def test_no_byte_changes_unseen(records: list[Record], data: st.DataObject) -> None:
    segment, file = file_of(records)
    at = data.draw(st.integers(0, len(file) - 1))
    altered = file[:at] + bytes([file[at] ^ data.draw(st.integers(1, 255))]) + file[at + 1 :]
    with pytest.raises(InvalidResource) as caught:
        list(Segment(segment.name, altered).records())
    assert caught.value.reference == str(segment.name)


def test_not_a_single_byte_of_a_whole_file() -> None:
    segment, file = file_of(plain(4), frame=120)
    assert len(segment.frames) > 1
    for at in range(len(file)):
        altered = bytearray(file)
        altered[at] ^= 1 << at % 8
        with pytest.raises(InvalidResource):
            list(Segment(segment.name, bytes(altered)).records())


def test_nothing_can_be_cut_off_added_or_taken_out() -> None:
    segment, file = file_of(plain(6), frame=120)
    for length in range(len(file)):
        with pytest.raises(InvalidResource):
            Segment(segment.name, file[:length])
    second = segment.frames[1]
    for altered in (file + b"\0", b"\0" + file, file[: second.at] + file[second.at + second.length :], b""):
        with pytest.raises(InvalidResource):
            Segment(segment.name, altered)


def test_of_the_frames_only_those_that_are_read_must_be_whole() -> None:
    records = plain(6)
    segment, file = file_of(records, frame=120)
    last = segment.frames[-1]
    altered = Segment(segment.name, file[: last.at] + b"\0" * last.length + file[last.at + last.length :])
    assert list(altered.records(0, last.first)) == records[: last.first]
    with pytest.raises(InvalidResource, match=f"the frame at byte {last.at}"):
        list(altered.records())


def test_a_file_under_the_name_of_another_is_refused() -> None:
    segment, file = file_of(plain(6))
    name = segment.name
    for other in (
        replace(name, topic="ai.results"),
        replace(name, partition=0),
        replace(name, first=1),
        replace(name, end=7),
        replace(name, latest=name.latest + 1),
    ):
        with pytest.raises(InvalidResource, match="of another segment"):
            Segment(other, file)


def test_a_time_in_the_index_that_is_not_that_of_the_records_is_refused() -> None:
    """Else it would be passed over by who reads from a moment on, and by nobody else."""
    segment, file = file_of(plain(6), frame=120)
    for latest in (segment.name.latest - 1, 0):
        forged = Segment(*backdated(segment.name, file, latest))
        forged.check()
        assert forged.since(plain(6)[-1].timestamp) is None
        with pytest.raises(InvalidResource, match="holds other records than the index says"):
            list(forged.records())


def test_a_later_version_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.segments.segment.VERSION", 2)
    with pytest.raises(InvalidResource, match="format version 1"):
        file_of(plain(1))  # its header is written with the default of this version


def test_it_is_the_same_bytes_whenever_it_is_closed() -> None:
    once, again = file_of(plain(9))[1], file_of(plain(9))[1]
    assert once == again
    growing = OpenSegment(TOPIC, PARTITION, 0, frame=120)
    for record in plain(3):
        growing.add(record)
    assert growing.closed() == growing.closed()
    growing.add(plain(1, 3)[0])
    assert list(Segment(*growing.closed()).records()) == plain(4)


def test_any_zstd_tool_unpacks_the_records() -> None:
    records = plain(6)
    _, file = file_of(records, frame=120)
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
        assert list(read(reader.read(), TOPIC, PARTITION)) == records


def test_only_what_comes_next_is_taken() -> None:
    growing = OpenSegment(TOPIC, PARTITION, 5)
    for wrong in (plain(1, 4)[0], replace(plain(1, 5)[0], place=Place(TOPIC, 0, 5))):
        with pytest.raises(ValueError, match="is not next"):
            growing.add(wrong)
    with pytest.raises(ValueError, match="without records"):
        growing.closed()


def test_it_covers_what_was_empty_before_its_first_record() -> None:
    segment, _ = file_of(plain(2, 7), first=5)
    assert (segment.name.first, segment.name.end) == (5, 9)


@settings(max_examples=50)
@given(st.integers(0, 10**18), st.integers(1, 10**6), st.integers(-1, 253_370_764_800_000))
def test_a_name_is_read_as_it_was_written(first: int, length: int, latest: int) -> None:
    name = SegmentName(TOPIC, PARTITION, first, first + length, latest)
    assert segment_name(str(name)) == name


def test_a_name_tells_what_it_holds() -> None:
    name = SegmentName(TOPIC, PARTITION, 0, 1234, 1_796_008_478_123)
    assert str(name) == f"segments/{TOPIC}/3/{0:020d}-{1234:020d}-20261130T031438123Z.zst"
    for other in ("segments/x/0/1.zst", str(name) + ".tmp", str(name).replace("1234", "0000"), "objects/a.png"):
        assert segment_name(other) is None
