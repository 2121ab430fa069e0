"""ArchivedHistory over objects in memory and a FakeHistory: what the contract reads is half archived, half on the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from connectors.objects import Objects, in_memory
from schemas.errors import BrokerUnavailable, RecordsRemoved
from schemas.history import Span
from schemas.ports import Record
from streams.segments.history import ArchivedHistory
from streams.segments.names import FOLDER
from tests.contract.archived_log import TOPIC, HalfArchived, Moving, archive, read, ten
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.contract.history import HistoryContract, everything, written


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
        return ArchivedHistory(objects, FakeHistory(log), [TOPIC])


@pytest.fixture
def plain(log: FakeEventLog) -> FakeHistory:
    return FakeHistory(log)


@pytest.fixture
def history(objects: Objects, plain: FakeHistory) -> ArchivedHistory:
    return ArchivedHistory(objects, plain, [TOPIC])


async def test_every_part_of_what_is_half_archived(log: FakeEventLog, objects: Objects, plain: FakeHistory) -> None:
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[3:7])
    plain.remove_before(TOPIC, partition, 5)
    history = ArchivedHistory(objects, plain, [TOPIC])
    for first in range(11):
        for end in range(first, 11):
            assert await read(history, first, end, partition) == records[first:end]


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
    history = ArchivedHistory(objects, FakeHistory(FakeEventLog()), [TOPIC])
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

    assert await read(ArchivedHistory(objects, Overtaken(log), [TOPIC]), 0, 10, partition) == records


async def test_what_is_no_segment_is_passed_over(log: FakeEventLog, objects: Objects, history: ArchivedHistory) -> None:
    await ten(log)
    await objects.put(f"{FOLDER}/{TOPIC}/0/README", b"")
    await objects.put(f"{FOLDER}/{TOPIC}-other/0/{0:020d}-{5:020d}-20260101T000000000Z.zst", b"")
    assert await everything(history, TOPIC) == log.records(TOPIC)


async def test_a_topic_that_is_not_archived_is_read_on_the_log_alone(
    log: FakeEventLog, objects: Objects, plain: FakeHistory
) -> None:
    """Who can write to the store puts nothing before a reader of all other topics."""
    records = await ten(log)
    partition = records[0].place.partition
    await archive(objects, [replace(one, value=b"made up") for one in records])
    history = ArchivedHistory(objects, plain, ["another"])
    assert await everything(history, TOPIC) == records
    assert await history.spans(TOPIC) == await plain.spans(TOPIC)
    assert await history.since(TOPIC, START) == await plain.since(TOPIC, START)
    assert await history.kept(TOPIC) == []
    plain.remove_before(TOPIC, partition, 5)
    assert await history.holes(Span(TOPIC, partition, 0, 10)) == [Span(TOPIC, partition, 0, 5)]
    with pytest.raises(RecordsRemoved):
        await read(history, 0, 10, partition)
