"""An EventLog in memory, for tests of what stands behind the port."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from schemas.errors import BrokerUnavailable, Rejected
from schemas.ports import Outgoing, Place, Record

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeEventLog:
    """Topics are created by `create`, as in a broker without automatic creation; `away` is a broker that is down."""

    def __init__(self, *topics: str, record_limit: int = 1024 * 1024) -> None:
        self.away = False
        self._record_limit = record_limit
        #: each partition's records
        self.topics: dict[str, list[list[Record]]] = {}
        self._grown = asyncio.Condition()
        for topic in topics:
            self.create(topic)

    def create(self, topic: str, partitions: int = 4) -> None:
        self.topics[topic] = [[] for _ in range(partitions)]

    def records(self, topic: str) -> list[Record]:
        """All of a topic, partition by partition."""
        return [record for partition in self.topics[topic] for record in partition]

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        for record in records:
            self._reach("append", record.topic)
            if len(record.value) > self._record_limit:
                raise Rejected("append", record.topic, f"a record of {len(record.value)} bytes is too large")
        places = [self._put(record) for record in records]
        async with self._grown:
            self._grown.notify_all()
        return places

    def _put(self, record: Outgoing) -> Place:
        partitions = self.topics[record.topic]
        number = zlib.crc32(record.key or b"") % len(partitions)
        place = Place(record.topic, number, len(partitions[number]))
        written = sum(len(partition) for partition in partitions)
        partitions[number].append(Record(place, record.key, record.value, record.headers, START + timedelta(seconds=written)))
        return place

    async def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        self._reach("read", topic)
        partitions = self.topics[topic]
        positions = [0 if last is None else max(0, len(partition) - last) for partition in partitions]
        ends = [len(partition) for partition in partitions]
        while True:
            for number, partition in enumerate(partitions):
                while positions[number] < (len(partition) if follow else ends[number]):
                    positions[number] += 1
                    yield partition[positions[number] - 1]
            if not follow:
                return
            async with self._grown:
                await self._grown.wait_for(lambda: positions != [len(partition) for partition in partitions])

    def _reach(self, action: str, topic: str) -> None:
        if self.away:
            raise BrokerUnavailable(action, topic, "the broker is away")
        if topic not in self.topics:
            raise BrokerUnavailable(action, topic, "no such topic")
