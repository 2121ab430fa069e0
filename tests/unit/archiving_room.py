"""A log of one partition, an object store and a clock that is set: where the tests of archiving do their work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from connectors.objects import in_memory
from schemas.ports import ObjectStore, Outgoing, Record
from streams.segments.archiving import Archiver
from streams.segments.history import ArchivedHistory
from streams.segments.names import SegmentName, archived
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.contract.history import everything

TOPIC, KEY = "topic", b"one"
HOUR = timedelta(hours=1)


class SetClock:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


class Through:
    """An object store in front of another."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    async def put(self, name: str, value: bytes) -> None:
        await self._objects.put(name, value)

    async def get(self, name: str) -> bytes | None:
        return await self._objects.get(name)

    async def holds(self, name: str) -> bool:
        return await self._objects.holds(name)

    async def names(self, folder: str = "") -> Sequence[str]:
        return await self._objects.names(folder)


class Room:
    """A log of one partition, its history, an object store, and whoever archives there."""

    def __init__(self) -> None:
        self.log = FakeEventLog()
        self.log.create(TOPIC, 1)
        self.objects = in_memory()
        self.live = FakeHistory(self.log)
        self.clock = SetClock(START)
        self.stop = asyncio.Event()

    def archiver(self, size: int = 300, objects: ObjectStore | None = None) -> Archiver:
        topics = [TOPIC, "nobody-made-it"]
        return Archiver(objects or self.objects, self.live, self.clock, topics, size=size, age=HOUR)

    async def append(self, count: int) -> None:
        before = len(self.log.records(TOPIC))
        await self.log.append([Outgoing(TOPIC, KEY, b"value %03d" % (before + n)) for n in range(count)])

    async def names(self) -> list[SegmentName]:
        return (await archived(self.objects, TOPIC)).get(0, [])

    async def reads(self) -> list[Record]:
        return await everything(ArchivedHistory(self.objects, self.live, [TOPIC]), TOPIC)
