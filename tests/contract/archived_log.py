"""A log of which parts are in the archive, as a test puts them there or as time goes by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from connectors.objects import Objects
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams.segments.history import ArchivedHistory
from streams.segments.names import archived
from streams.segments.open_segment import OpenSegment
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory

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
        super().__init__(objects, live, [TOPIC])
        self._half = live

    async def spans(self, topic: str) -> Sequence[Span]:
        await self._half.move()
        return await super().spans(topic)

    async def records(self, span: Span) -> AsyncIterator[Record]:
        await self._half.move()
        async for record in super().records(span):
            yield record


async def ten(log: FakeEventLog) -> list[Record]:
    """All in one partition."""
    await log.append([Outgoing(TOPIC, b"one", b"%d" % number) for number in range(10)])
    return log.records(TOPIC)


async def read(history: ArchivedHistory, first: int, end: int, partition: int) -> list[Record]:
    return [record async for record in history.records(Span(TOPIC, partition, first, end))]
