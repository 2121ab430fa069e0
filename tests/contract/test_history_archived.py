"""ArchivedHistory over objects in memory and a FakeHistory: what the contract reads is half archived, half on the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.objects import Objects, in_memory
from schemas.errors import BrokerUnavailable, InvalidResource, RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams.segments.history import ArchivedHistory
from streams.segments.names import FOLDER, archived, gaps
from streams.segments.open_segment import OpenSegment
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.contract.history import HistoryContract, everything, written

TOPIC = "topic"


async def archive(objects: Objects, records: Sequence[Record]) -> str:
    """As one segment; returns its name."""
    place = records[0].place
    growing = OpenSegment(place.topic, place.partition, place.offset, frame=100)
    for record in records:
        growing.add(record)
    name, file = growing.closed()
    await objects.put(str(name), file)
    return str(name)


class HalfArchived(FakeHistory):
    """Each time it is asked for spans, the first half of every partition has moved to the archive, in segments of three."""

    def __init__(self, log: FakeEventLog, objects: Objects) -> None:
        super().__init__(log)
        self._fake_log, self._objects = log, objects

    async def move(self) -> None:
        for topic, partitions in self._fake_log.topics.items():
            kept = await archived(self._objects, topic)
            for number, records in enumerate(partitions):
                begin = max((one.end for one in kept.get(number, [])), default=0)
                half = records[begin : (len(records) + 1) // 2]
                for at in range(0, len(half), 3):
                    await archive(self._objects, half[at : at + 3])
                if half:
                    self.remove_before(topic, number, half[-1].place.offset + 1)


class Moving(ArchivedHistory):
    """Retention is at work before each question."""

    def __init__(self, objects: Objects, live: HalfArchived) -> None:
        super().__init__(objects, live)
        self._half = live

    async def spans(self, topic: str) -> Sequence[Span]:
        await self._half.move()
        return await super().spans(topic)

    async def records(self, span: Span) -> AsyncIterator[Record]:
        await self._half.move()
        async for record in super().records(span):
            yield record


@pytest.fixture
def topic() -> str:
    return TOPIC


@pytest.fixture
def log(topic: str) -> FakeEventLog:
    return FakeEventLog(topic)


@pytest.fixture
def objects() -> Objects:
    return in_memory()


@pytest.fixture
def live(log: FakeEventLog, objects: Objects) -> HalfArchived:
    return HalfArchived(log, objects)


class TestArchivedHistory(HistoryContract):
    @pytest.fixture
    def history(self, objects: Objects, live: HalfArchived) -> ArchivedHistory:
        return Moving(objects, live)


class TestNothingArchived(HistoryContract):
    @pytest.fixture
    def history(self, objects: Objects, log: FakeEventLog) -> ArchivedHistory:
        return ArchivedHistory(objects, FakeHistory(log))


@pytest.fixture
def plain(log: FakeEventLog) -> FakeHistory:
    return FakeHistory(log)


@pytest.fixture
def history(objects: Objects, plain: FakeHistory) -> ArchivedHistory:
    return ArchivedHistory(objects, plain)


async def ten(log: FakeEventLog) -> list[Record]:
    """All in one partition."""
    await log.append([Outgoing(TOPIC, b"one", b"%d" % number) for number in range(10)])
    return log.records(TOPIC)


async def read(history: ArchivedHistory, first: int, end: int, partition: int) -> list[Record]:
    return [record async for record in history.records(Span(TOPIC, partition, first, end))]


async def test_every_part_of_what_is_half_archived(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[3:7])
    plain.remove_before(TOPIC, partition, 5)
    history = ArchivedHistory(objects, plain)
    for first in range(11):
        for end in range(first, 11):
            assert await read(history, first, end, partition) == records[first:end]


@settings(max_examples=60)
@given(
    st.integers(1, 14),
    st.lists(st.tuples(st.integers(0, 14), st.integers(1, 6)), max_size=5),
    st.integers(0, 14),
    st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), min_size=1, max_size=6),
)
def test_whatever_is_archived_and_removed(
    count: int, parts: list[tuple[int, int]], begin: int, asked: list[tuple[int, int]]
) -> None:
    """Every span is given whole, or it is told before the first record that an offset of it is nowhere."""

    async def tried() -> None:
        log, objects = FakeEventLog(), in_memory()
        log.create(TOPIC, 1)
        await log.append([Outgoing(TOPIC, b"one", b"%d" % number) for number in range(count)])
        records, live = log.records(TOPIC), FakeHistory(log)
        there = set(range(min(begin, count), count))
        for first, length in parts:
            if part := records[first : first + length]:
                await archive(objects, part)
                there |= {record.place.offset for record in part}
        live.remove_before(TOPIC, 0, min(begin, count))
        history = ArchivedHistory(objects, live)
        (span,) = await history.spans(TOPIC)
        assert (span.first, span.end) == (min(there, default=count), count)
        for one, other in asked:
            first, end = sorted((min(one, count), min(other, count)))
            if there.issuperset(range(first, end)):
                assert await read(history, first, end, 0) == records[first:end]
            else:
                with pytest.raises(RecordsRemoved):
                    await anext(history.records(Span(TOPIC, 0, first, end)))

    asyncio.run(tried())


async def test_since_any_moment(log: FakeEventLog, objects: Objects, plain: FakeHistory, history: ArchivedHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[3:7])
    plain.remove_before(TOPIC, partition, 7)
    for number, moment in enumerate([START - timedelta(days=1), *(record.timestamp for record in records)]):
        assert (await history.since(TOPIC, moment))[partition] == Span(TOPIC, partition, max(0, number - 1), 10)
    assert (await history.since(TOPIC, datetime.max.replace(tzinfo=START.tzinfo)))[partition] == Span(TOPIC, partition, 10, 10)


async def test_a_topic_that_only_the_archive_has(log: FakeEventLog, objects: Objects) -> None:
    await written(log, TOPIC)
    everything_now = log.records(TOPIC)
    for partition in log.topics[TOPIC]:
        if partition:
            await archive(objects, partition)
    history = ArchivedHistory(objects, FakeHistory(FakeEventLog()))
    assert await everything(history, TOPIC) == everything_now
    moment = everything_now[-1].timestamp
    spans = await history.since(TOPIC, moment)
    found = [record for span in spans async for record in history.records(span) if record.timestamp >= moment]
    assert found == [record for record in everything_now if record.timestamp >= moment]


async def test_a_broker_that_is_away_is_no_missing_topic(log: FakeEventLog, objects: Objects, history: ArchivedHistory) -> None:
    records = await ten(log)
    await archive(objects, records[:6])
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await history.spans(TOPIC)
    assert await read(history, 2, 6, records[0].place.partition) == records[2:6]  # nobody needs to ask it
    with pytest.raises(BrokerUnavailable):
        await read(history, 2, 7, records[0].place.partition)


async def test_a_gap_is_told_and_never_stepped_over(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[5:7])
    history = ArchivedHistory(objects, plain)
    assert await read(history, 0, 10, partition) == records  # the log still has what the archive lacks
    plain.remove_before(TOPIC, partition, 8)
    assert (await history.spans(TOPIC))[partition] == Span(TOPIC, partition, 0, 10)
    for first, end, missing in ((0, 7, "3-5"), (4, 5, "4-5"), (6, 10, "7-10"), (6, 8, "7-8")):
        with pytest.raises(RecordsRemoved, match=missing):
            await anext(history.records(Span(TOPIC, partition, first, end)))
    assert await read(history, 5, 7, partition) == records[5:7]
    assert gaps((await archived(objects, TOPIC))[partition]) == [Span(TOPIC, partition, 3, 5)]


async def test_two_that_overlap_give_nothing_twice(log: FakeEventLog, objects: Objects, history: ArchivedHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    for part in (records[:4], records[:6], records[2:5], records[5:8]):
        await archive(objects, part)
    assert await read(history, 0, 10, partition) == records
    assert gaps((await archived(objects, TOPIC))[partition]) == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(1, 8)), min_size=1, max_size=6, unique=True), st.data())
def test_what_is_read_at_an_offset_does_not_depend_on_where_one_begins(parts: list[tuple[int, int]], data: st.DataObject) -> None:
    """Else a forged segment between others would be read, and by no `audit verify`: each part here says other things, at other
    times."""

    async def tried() -> None:
        log, objects = FakeEventLog(), in_memory()
        log.create(TOPIC, 1)
        await log.append([Outgoing(TOPIC, b"one", b"log") for _ in range(22)])
        for number, (first, length) in enumerate(parts):
            shift = timedelta(minutes=data.draw(st.integers(-9, 9)))
            said = [replace(one, value=b"%d" % number, timestamp=one.timestamp + shift) for one in log.records(TOPIC)]
            await archive(objects, said[first : first + length])
        whole = await read(ArchivedHistory(objects, FakeHistory(log)), 0, 22, 0)
        for first in range(23):
            for end in {22, min(first + 1, 22), min(first + 5, 22)}:
                assert await read(ArchivedHistory(objects, FakeHistory(log)), first, end, 0) == whole[first:end]
        for moment in {one.timestamp for one in whole}:
            (span,) = await ArchivedHistory(objects, FakeHistory(log)).since(TOPIC, moment)
            later = [one for one in (*whole, *log.records(TOPIC)) if one.timestamp >= moment]
            assert span.first == min(one.place.offset for one in later)

    asyncio.run(tried())


async def test_what_is_archived_while_it_is_read(log: FakeEventLog, objects: Objects) -> None:
    records = await ten(log)
    partition = records[0].place.partition

    class Overtaken(FakeHistory):
        """Retention takes the rest between two looks."""

        async def records(self, span: Span) -> AsyncIterator[Record]:
            if span.first == 0:
                for record in records[:2]:
                    yield record
                await archive(objects, records[:5])
                raise RecordsRemoved("records", str(span), "retention")
            async for record in super().records(span):
                yield record

    assert await read(ArchivedHistory(objects, Overtaken(log)), 0, 10, partition) == records


async def test_a_segment_that_was_altered_or_taken_away(log: FakeEventLog, objects: Objects, history: ArchivedHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    name = await archive(objects, records[:5])
    file = await objects.get(name)
    assert file is not None
    await objects.put(name, file.replace(b'"partition":', b'"portition":'))
    with pytest.raises(InvalidResource, match=name):
        await read(history, 0, 10, partition)
    empty = in_memory()
    await empty.put(name, b"")
    with pytest.raises(InvalidResource, match="cut off"):
        await read(ArchivedHistory(empty, FakeHistory(log)), 0, 1, partition)


async def test_what_is_no_segment_is_passed_over(log: FakeEventLog, objects: Objects, history: ArchivedHistory) -> None:
    await ten(log)
    await objects.put(f"{FOLDER}/{TOPIC}/0/README", b"")
    await objects.put(f"{FOLDER}/{TOPIC}-other/0/{0:020d}-{5:020d}-20260101T000000000Z.zst", b"")
    assert await everything(history, TOPIC) == log.records(TOPIC)


async def test_what_nobody_has_is_named(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:2])
    await archive(objects, records[4:5])
    history = ArchivedHistory(objects, plain)

    async def holes(first: int, end: int) -> list[tuple[int, int]]:
        return [(one.first, one.end) for one in await history.holes(Span(TOPIC, partition, first, end))]

    assert await holes(0, 10) == []
    plain.remove_before(TOPIC, partition, 7)
    assert await holes(0, 10) == [(2, 4), (5, 7)]
    assert await holes(3, 6) == [(3, 4), (5, 6)]
    assert await holes(6, 12) == [(6, 7), (10, 12)]
    plain.remove_before(TOPIC, partition, 10)
    assert await holes(0, 10) == [(2, 4), (5, 10)] and await holes(4, 4) == []
