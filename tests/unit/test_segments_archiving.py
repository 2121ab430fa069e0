"""From the topics to closed segments, over a log and objects in memory: when one is closed, and what it then holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from schemas.history import Span
from schemas.ports import Record
from streams.segments.names import gaps
from tests.contract.fake_event_log import START
from tests.contract.fake_history import FakeHistory
from tests.unit.archiving_room import HOUR, TOPIC, Room


@pytest.fixture
def room() -> Room:
    return Room()


async def test_a_segment_is_closed_when_it_is_large_enough(room: Room) -> None:
    await room.append(20)
    await room.archiver().turn(room.stop)
    spans = [(one.first, one.end) for one in await room.names()]
    assert len(spans) > 1
    assert spans == [(begin, end) for begin, end in zip([0, *[end for _, end in spans]], [end for _, end in spans], strict=False)]
    assert spans[-1][1] < 20  # the rest still grows
    room.live.remove_before(TOPIC, 0, spans[-1][1])
    assert await room.reads() == room.log.records(TOPIC)


async def test_a_segment_is_closed_when_it_is_old_enough(room: Room) -> None:
    archiver = room.archiver(size=10**6)
    await room.append(2)
    room.clock.moment = START + HOUR - timedelta(seconds=1)
    await archiver.turn(room.stop)
    assert await room.names() == []
    room.clock.moment = START + HOUR
    await archiver.turn(room.stop)
    assert [(one.first, one.end) for one in await room.names()] == [(0, 2)]


@pytest.mark.parametrize("ahead", [timedelta(days=4000), timedelta(days=-400)], ids=["ahead", "behind"])
async def test_a_sender_whose_clock_is_wrong_is_closed_by_age_all_the_same(room: Room, ahead: timedelta) -> None:
    """An hour after it was seen, whatever its first record says."""
    archiver = room.archiver(size=10**6)
    await room.append(2)
    seen = room.clock.moment = START - ahead
    await archiver.turn(room.stop)
    room.clock.moment = seen + HOUR
    await archiver.turn(room.stop)
    assert [(one.first, one.end) for one in await room.names()] == [(0, 2)]


async def test_a_slow_clock_makes_no_segment_of_every_record(room: Room) -> None:
    archiver = room.archiver(size=10**6)
    room.clock.moment = START + timedelta(days=400)
    for _ in range(5):
        await room.append(1)
        await archiver.turn(room.stop)
        room.clock.moment += timedelta(minutes=20)
    assert [(one.first, one.end) for one in await room.names()] == [(0, 1), (1, 4)]


async def test_two_at_once_do_no_harm(room: Room) -> None:
    first, second = room.archiver(size=300), room.archiver(size=470)
    for _ in range(6):
        await room.append(10)
        await first.turn(room.stop)
        await second.turn(room.stop)
    names = await room.names()
    assert gaps(names) == []
    room.live.remove_before(TOPIC, 0, max(one.end for one in names))
    assert await room.reads() == room.log.records(TOPIC)


async def test_what_was_gone_before_anything_was_archived_is_no_gap(room: Room) -> None:
    await room.append(40)
    room.live.remove_before(TOPIC, 0, 10)
    archiver = room.archiver()
    await archiver.turn(room.stop)
    assert archiver.alarms == {}
    assert (await room.names())[0].first == 10


async def test_the_marker_of_a_transaction_is_no_gap(room: Room) -> None:
    class Marked(FakeHistory):
        """Every fifth offset has no record."""

        async def records(self, span: Span) -> AsyncIterator[Record]:
            async for record in super().records(span):
                if record.place.offset % 5 != 4:
                    yield record

    room.live = Marked(room.log)
    archiver = room.archiver(size=10**6)
    await room.append(10)
    room.clock.moment += HOUR
    await archiver.turn(room.stop)
    room.live.remove_before(TOPIC, 0, 10)
    await room.append(5)
    room.clock.moment += HOUR
    await archiver.turn(room.stop)
    assert [(one.first, one.end) for one in await room.names()] == [(0, 10), (10, 15)]
    assert archiver.alarms == {}
    assert [one.place.offset for one in await room.reads()] == [n for n in range(15) if n % 5 != 4]
