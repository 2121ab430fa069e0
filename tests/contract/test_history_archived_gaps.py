"""An archive with gaps, overlaps or altered segments: every span is given whole and as it is, or it is told what is lacking."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.objects import Objects, in_memory
from schemas.errors import InvalidResource, RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing
from streams.segments.history import ArchivedHistory
from streams.segments.names import archived, gaps
from tests.contract.archived_log import TOPIC, archive, read, ten
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog(TOPIC)


@pytest.fixture
def objects() -> Objects:
    return in_memory()


@pytest.fixture
def plain(log: FakeEventLog) -> FakeHistory:
    return FakeHistory(log)


@pytest.fixture
def history(objects: Objects, plain: FakeHistory) -> ArchivedHistory:
    return ArchivedHistory(objects, plain, [TOPIC])


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
        history = ArchivedHistory(objects, live, [TOPIC])
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


async def test_a_gap_is_told_and_never_stepped_over(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[5:7])
    history = ArchivedHistory(objects, plain, [TOPIC])
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
        whole = await read(ArchivedHistory(objects, FakeHistory(log), [TOPIC]), 0, 22, 0)
        for first in range(23):
            for end in {22, min(first + 1, 22), min(first + 5, 22)}:
                assert await read(ArchivedHistory(objects, FakeHistory(log), [TOPIC]), first, end, 0) == whole[first:end]
        for moment in {one.timestamp for one in whole}:
            (span,) = await ArchivedHistory(objects, FakeHistory(log), [TOPIC]).since(TOPIC, moment)
            later = [one for one in (*whole, *log.records(TOPIC)) if one.timestamp >= moment]
            assert span.first == min(one.place.offset for one in later)

    asyncio.run(tried())


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
        await read(ArchivedHistory(empty, FakeHistory(log), [TOPIC]), 0, 1, partition)


async def test_what_nobody_has_is_named(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:2])
    await archive(objects, records[4:5])
    history = ArchivedHistory(objects, plain, [TOPIC])

    async def holes(first: int, end: int) -> list[tuple[int, int]]:
        return [(one.first, one.end) for one in await history.holes(Span(TOPIC, partition, first, end))]

    assert await holes(0, 10) == []
    plain.remove_before(TOPIC, partition, 7)
    assert await holes(0, 10) == [(2, 4), (5, 7)]
    assert await holes(3, 6) == [(3, 4), (5, 6)]
    assert await holes(6, 12) == [(6, 7), (10, 12)]
    plain.remove_before(TOPIC, partition, 10)
    assert await holes(0, 10) == [(2, 4), (5, 10)] and await holes(4, 4) == []
