"""Kafka takes any 64 bits as the time of a record; none of them may stop who reads the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from connectors.kafka_records import record_of
from schemas.moments import milliseconds, moment_of
from schemas.ports import Record
from streams.audit.chain import BEGINNING, linked
from streams.runner_faust import _record
from streams.segments.names import SegmentName, segment_name
from streams.segments.open_segment import OpenSegment
from streams.segments.segment import Segment

#: what the broker takes
TIMES = (
    st.integers(-(2**63), 2**63 - 1) | st.integers(-62_135_600_000_000, -62_130_000_000_000) | st.integers(0, 253_500_000_000_000)
)


def read(time: int) -> Record:
    return record_of(SimpleNamespace(topic="t", partition=0, offset=3, key=None, value=b"v", headers=(), timestamp=time))


@given(TIMES)
def test_any_time_is_read_chained_and_archived(time: int) -> None:
    record = read(time)
    assert record.timestamp.astimezone() + timedelta(days=7) > record.timestamp
    growing = OpenSegment("t", 0, 3)
    growing.add(record)
    name, file = growing.closed()
    assert segment_name(str(name)) == name
    (again,) = Segment(name, file).records()
    assert again == record and linked(BEGINNING, again) == linked(BEGINNING, record)
    assert moment_of(milliseconds(record.timestamp)) == record.timestamp


@given(st.integers(-2_000_000_000_000, 4_000_000_000_000))  # behind them a float of seconds is no longer exact
def test_times_of_our_centuries_are_those_they_always_were(time: int) -> None:
    assert moment_of(time) == datetime.fromtimestamp(time / 1000, UTC)


def test_before_the_first_year_and_behind_the_last() -> None:
    assert read(-62_170_156_800_001).timestamp == datetime(2, 1, 1, tzinfo=UTC)
    assert read(2**62).timestamp == datetime(9999, 1, 1, tzinfo=UTC)
    assert str(SegmentName("t", 0, 0, 1, milliseconds(datetime(2, 1, 1, tzinfo=UTC)))).endswith("-00020101T000000000Z.zst")


@given(TIMES)
def test_faust_reads_the_same(time: int) -> None:
    message = SimpleNamespace(topic="t", partition=0, offset=3, key=None, value=b"v", headers=(), timestamp=time / 1000)
    assert abs(_record(message).timestamp - read(time).timestamp) < timedelta(milliseconds=2)
