"""What every History does. Subclasses give the fixtures `log` (where it is written), `history`, and `topic` (fresh, four
partitions)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.errors import RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.ports import EventLog, Outgoing, Record

KEYS = [b"key %d" % number for number in range(9)]


async def written(log: EventLog, topic: str, count: int = 40) -> None:
    await log.append([Outgoing(topic, KEYS[n % len(KEYS)], b"%d" % n, (("number", b"%d" % n),)) for n in range(count)])


async def everything(history: History, topic: str) -> list[Record]:
    return [record for span in await history.spans(topic) for record in [one async for one in history.records(span)]]


class HistoryContract:
    async def test_an_empty_topic_has_empty_spans(self, history: History, topic: str) -> None:
        assert await history.spans(topic) == [Span(topic, number, 0, 0) for number in range(4)]
        assert await everything(history, topic) == []

    async def test_what_was_appended_is_read_by_its_places(self, log: EventLog, history: History, topic: str) -> None:
        await written(log, topic)
        appended = [record async for record in log.read(topic)]
        assert sorted(await everything(history, topic), key=lambda one: str(one.place)) == sorted(
            appended, key=lambda one: str(one.place)
        )

    async def test_a_part_of_a_partition(self, log: EventLog, history: History, topic: str) -> None:
        await log.append([Outgoing(topic, b"one", b"%d" % number) for number in range(20)])
        (span,) = [span for span in await history.spans(topic) if len(span)]
        assert (span.first, span.end) == (0, 20)
        part = [record async for record in history.records(Span(topic, span.partition, 7, 12))]
        assert [(record.place.offset, record.value) for record in part] == [(n, b"%d" % n) for n in range(7, 12)]
        assert [record async for record in history.records(Span(topic, span.partition, 5, 5))] == []

    async def test_since_a_moment(self, log: EventLog, history: History, topic: str) -> None:
        await written(log, topic)
        everything_now = await everything(history, topic)
        moment = sorted(record.timestamp for record in everything_now)[len(everything_now) // 2]
        spans = await history.since(topic, moment)
        assert [(span.topic, span.partition) for span in spans] == [(topic, number) for number in range(4)]
        for span in spans:
            own = [record for record in everything_now if record.place.partition == span.partition]
            assert all(record.timestamp < moment for record in own if record.place.offset < span.first)
            assert span.end == len(own)
            assert not len(span) or next(one for one in own if one.place.offset == span.first).timestamp >= moment
        assert all(not len(span) for span in await history.since(topic, datetime.now(UTC) + timedelta(days=9000)))

    async def test_since_a_moment_between_two_milliseconds_or_long_ago(self, log: EventLog, history: History, topic: str) -> None:
        await log.append([Outgoing(topic, b"one", b"value")])
        (record,) = await everything(history, topic)
        after = await history.since(topic, record.timestamp + timedelta(microseconds=1))
        assert all(not len(span) for span in after)
        assert await history.since(topic, datetime(1900, 1, 1, tzinfo=UTC)) == await history.spans(topic)

    async def test_what_is_not_there_is_said_before_anything_is_given(self, log: EventLog, history: History, topic: str) -> None:
        await log.append([Outgoing(topic, b"one", b"value")])
        (span,) = [span for span in await history.spans(topic) if len(span)]
        with pytest.raises(RecordsRemoved):
            await anext(aiter(history.records(Span(topic, span.partition, 0, 2))))

    async def test_a_topic_that_does_not_exist(self, history: History) -> None:
        with pytest.raises(TopicMissing):
            await history.spans("no-such-topic")
        with pytest.raises(TopicMissing):
            await history.since("no-such-topic", datetime.now(UTC))
        with pytest.raises(TopicMissing):
            await anext(aiter(history.records(Span("no-such-topic", 0, 0, 1))))
