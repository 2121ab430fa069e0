"""Who only looks on hears every record once, whatever the broker does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from schemas.errors import BrokerUnavailable
from schemas.ports import Outgoing, Record
from streams.unbroken import unbroken
from tests.contract.fake_event_log import FakeEventLog

TOPIC = "topic"


class Breaking(FakeEventLog):
    """Every read, but the last of `breaks` and one, ends after so many records: the broker did not answer in time."""

    def __init__(self, *breaks: int) -> None:
        super().__init__(TOPIC)
        self.create(TOPIC, partitions=1)
        self.breaks = list(breaks)

    async def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        left = self.breaks.pop(0) if self.breaks else None
        if left == 0:
            raise BrokerUnavailable("read", topic, "not in time")
        async for record in super().read(topic, follow=follow, last=last):
            yield record
            if left is not None:
                left -= 1
                if left == 0:
                    raise BrokerUnavailable("read", topic, "not in time")


async def heard(log: FakeEventLog, count: int) -> list[bytes]:
    values: list[bytes] = []
    async with asyncio.timeout(5):
        async for record in unbroken(log, TOPIC, pause_s=0):
            values.append(record.value)
            if len(values) == count:
                break
    return values


async def test_each_record_once_over_breaks() -> None:
    log = Breaking(0, 1, 3, 0, 2)
    values = [str(number).encode() for number in range(4)]
    await log.append([Outgoing(TOPIC, None, value) for value in values])
    assert await heard(log, 4) == values
    assert log.breaks == []


async def test_what_comes_after_a_break_is_heard() -> None:
    log = Breaking(1)
    await log.append([Outgoing(TOPIC, None, b"first")])
    hearing = asyncio.create_task(heard(log, 2))
    await log.append([Outgoing(TOPIC, None, b"second")])
    assert await hearing == [b"first", b"second"]


async def test_a_record_that_says_the_same_is_another() -> None:
    log = Breaking()
    await log.append([Outgoing(TOPIC, None, b"same")] * 2)
    assert await heard(log, 2) == [b"same", b"same"]
