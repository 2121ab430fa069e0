"""What every EventLog does. Subclasses give the fixtures `log` and `topic` (fresh, four partitions, records up to 1 MiB)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, timedelta

import pytest

from schemas.errors import BrokerUnavailable, Rejected
from schemas.ports import EventLog, Outgoing, Record

EVERY_BYTE = bytes(range(256))


async def contents(log: EventLog, topic: str, last: int | None = None) -> list[Record]:
    return [record async for record in log.read(topic, last=last)]


class EventLogContract:
    async def test_what_is_appended_is_read_untouched(self, log: EventLog, topic: str) -> None:
        headers = (("cause", b"a"), ("empty", b""), ("cause", EVERY_BYTE))
        (place,) = await log.append([Outgoing(topic, EVERY_BYTE, EVERY_BYTE, headers)])
        (record,) = await contents(log, topic)
        assert (record.place, record.key, record.value, record.headers) == (place, EVERY_BYTE, EVERY_BYTE, headers)
        assert record.timestamp.tzinfo is not None
        assert record.timestamp.utcoffset() == timedelta(0)
        assert record.timestamp == record.timestamp.astimezone(UTC)

    async def test_no_key_and_no_content(self, log: EventLog, topic: str) -> None:
        await log.append([Outgoing(topic, None, b"")])
        (record,) = await contents(log, topic)
        assert (record.key, record.value, record.headers) == (None, b"", ())

    async def test_nothing_appended_is_nothing_written(self, log: EventLog, topic: str) -> None:
        assert list(await log.append([])) == []
        assert await contents(log, topic) == []

    async def test_the_order_of_a_key_is_kept_within_and_between_appends(self, log: EventLog, topic: str) -> None:
        appends = [[Outgoing(topic, b"key %d" % (n % 7), b"%d" % (100 * a + n)) for n in range(100)] for a in range(5)]
        places = [place for records in appends for place in await log.append(records)]
        sent = [record for records in appends for record in records]
        read = {record.place: record for record in await contents(log, topic)}
        assert len(read) == len(sent) == 500
        assert [read[place].value for place in places] == [record.value for record in sent]
        for key in {record.key for record in sent}:
            own = [place for place, record in zip(places, sent, strict=True) if record.key == key]
            assert len({place.partition for place in own}) == 1
            assert [place.offset for place in own] == sorted(place.offset for place in own)

    async def test_concurrent_appends_keep_each_its_own_order(self, log: EventLog, topic: str) -> None:
        async def one(key: bytes) -> None:
            await log.append([Outgoing(topic, key, b"%d" % number) for number in range(50)])

        keys = [b"a", b"b", b"c"]
        await asyncio.gather(*map(one, keys))
        read = await contents(log, topic)
        for key in keys:
            assert [record.value for record in read if record.key == key] == [b"%d" % number for number in range(50)]

    async def test_the_last_of_each_partition(self, log: EventLog, topic: str) -> None:
        await log.append([Outgoing(topic, b"key %d" % (n % 20), b"%d" % n) for n in range(200)])
        everything = await contents(log, topic)
        partitions = {record.place.partition for record in everything}
        assert len(partitions) > 1
        expected = [[r for r in everything if r.place.partition == partition][-3:] for partition in partitions]
        read = await contents(log, topic, last=3)
        assert sorted(map(repr, read)) == sorted(repr(record) for records in expected for record in records)
        assert await contents(log, topic, last=0) == []
        assert len(await contents(log, topic, last=1000)) == 200

    async def test_reading_ends_at_what_was_there_at_its_start(self, log: EventLog, topic: str) -> None:
        await log.append([Outgoing(topic, b"k", b"before")])
        seen = []
        async for record in log.read(topic):
            seen.append(record.value)
            await log.append([Outgoing(topic, b"k", b"during")])
            assert len(seen) < 3
        assert seen[0] == b"before"

    async def test_following(self, log: EventLog, topic: str) -> None:
        await log.append([Outgoing(topic, b"k", b"old"), Outgoing(topic, b"k", b"here")])
        async with asyncio.timeout(20), aclosing(log.read(topic, follow=True, last=1)) as records:  # type: ignore[type-var]
            assert (await anext(records)).value == b"here"
            waiting = asyncio.create_task(anext(records))
            await asyncio.sleep(0.1)  # it is waiting, not merely late
            assert not waiting.done()
            await log.append([Outgoing(topic, b"k", b"new")])
            assert (await waiting).value == b"new"

    async def test_a_topic_that_does_not_exist(self, log: EventLog, topic: str) -> None:
        with pytest.raises(BrokerUnavailable):
            await log.append([Outgoing(f"{topic}-misspelt", b"k", b"")])
        with pytest.raises(BrokerUnavailable):
            await contents(log, f"{topic}-misspelt")
        await log.append([Outgoing(topic, b"k", b"goes on")])
        assert [record.value for record in await contents(log, topic)] == [b"goes on"]

    async def test_a_record_that_is_too_large_is_rejected_and_the_next_goes_on(self, log: EventLog, topic: str) -> None:
        with pytest.raises(Rejected) as rejected:
            await log.append([Outgoing(topic, b"k", b"secret" * 400_000)])
        assert "secret" not in str(rejected.value)
        await log.append([Outgoing(topic, b"k", b"next")])
        assert [record.value for record in await contents(log, topic)] == [b"next"]
