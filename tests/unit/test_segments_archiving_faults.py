"""Killed, without its store, or with segments that were written by half: archiving repeats itself and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, InvalidResource, ObjectStoreUnavailable
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams.health import Health, Part, Shared, read_health
from streams.segments.archiving import Archiver
from streams.segments.names import archived, gaps
from tests.contract.fake_event_log import START
from tests.contract.fake_history import FakeHistory
from tests.unit.archiving_room import HOUR, KEY, TOPIC, Room, Through


class Killed(BaseException):
    """As a process that is killed: nobody catches it."""


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.mark.parametrize("killed_after", range(5))
async def test_a_crash_repeats_and_changes_nothing(room: Room, killed_after: int) -> None:
    """The first one ends after so many objects; whoever comes then makes what an undisturbed one makes."""

    class Killing(Through):
        left = killed_after

        async def put(self, name: str, value: bytes) -> None:
            if not self.left:
                raise Killed
            self.left -= 1
            await super().put(name, value)

    undisturbed = Room()
    for one in (room, undisturbed):
        await one.append(40)
    await undisturbed.archiver().turn(room.stop)
    with pytest.raises(Killed):
        await room.archiver(objects=Killing(room.objects)).turn(room.stop)
    await room.archiver().turn(room.stop)
    assert len(await room.names()) >= 5
    assert await room.names() == await undisturbed.names()
    for name in await room.names():
        assert await room.objects.get(str(name)) == await undisturbed.objects.get(str(name))


class Leaderless(FakeHistory):
    """What of it does not answer: a topic, or a partition of one."""

    away: frozenset[str] = frozenset()

    async def spans(self, topic: str) -> Sequence[Span]:
        if topic in self.away:
            raise BrokerUnavailable("history", topic, "LeaderNotAvailableError")
        return await super().spans(topic)

    async def records(self, span: Span) -> AsyncIterator[Record]:
        if f"{span.topic}/{span.partition}" in self.away:
            raise BrokerUnavailable("history", str(span), "LeaderNotAvailableError")
        async for record in super().records(span):
            yield record


async def test_what_has_no_leader_keeps_nothing_else_from_being_archived(room: Room, tmp_path: Path) -> None:
    live = room.live = Leaderless(room.log)
    room.log.create("other", 2)
    for number in range(2):
        room.log.topics["other"][number] += [Record(Place("other", number, n), KEY, b"v" * 90, (), START) for n in range(20)]
    await room.append(20)
    part = Shared(Health(tmp_path, "work-keep")).part("archive")
    archiver = Archiver(room.objects, live, room.clock, [TOPIC, "other"], size=300, age=HOUR)

    async def turn(*away: str) -> tuple[str, str]:
        live.away = frozenset(away)
        stop = asyncio.Event()

        class Once(Part):
            def set(self, state: str, reason: str = "", note: str = "") -> None:
                super().set(state, reason, note)
                if told:
                    stop.set()
                told.append(state)

        told: list[str] = []
        await archiver.run(stop, Once(part.shared, part.name), look_s=0.001)
        health = read_health(tmp_path)["work-keep"]
        return health.state, health.reason

    state, reason = await turn(TOPIC, "other/0")
    assert state == "ready" and "topic: Leader" in reason and "other/0/0-20: Leader" in reason
    assert list(await archived(room.objects, "other")) == [1] and not await room.names()
    state, reason = await turn(TOPIC, "other")
    assert state == "paused" and "LeaderNotAvailableError" in reason, "the broker is away"
    assert await turn() == ("ready", "")
    assert list(await archived(room.objects, "other")) == [0, 1] and await room.names()


async def test_a_store_that_is_away_loses_nothing(room: Room) -> None:
    class Away(Through):
        away = True

        async def put(self, name: str, value: bytes) -> None:
            if self.away:
                raise ObjectStoreUnavailable("objects", name, "does not answer")
            await super().put(name, value)

    store = Away(room.objects)
    archiver = room.archiver(objects=store)
    await room.append(15)
    for _ in range(2):
        with pytest.raises(ObjectStoreUnavailable):
            await archiver.turn(room.stop)
    store.away = False
    await room.append(5)
    await archiver.turn(room.stop)
    names = await room.names()
    assert names[0].first == 0
    assert gaps(names) == []
    room.live.remove_before(TOPIC, 0, names[-1].end)
    assert await room.reads() == room.log.records(TOPIC)


async def test_a_store_that_gives_back_something_else_is_not_believed(room: Room) -> None:
    class Forgetful(Through):
        async def put(self, name: str, value: bytes) -> None:
            await super().put(name, value[:-1])

    await room.append(20)
    with pytest.raises(ObjectStoreUnavailable, match="other bytes"):
        await room.archiver(objects=Forgetful(room.objects)).turn(room.stop)


async def test_a_segment_that_was_written_by_half_is_written_again(room: Room) -> None:
    await room.append(40)
    await room.archiver().turn(room.stop)
    names = await room.names()
    files = [await room.objects.get(str(name)) for name in names]
    for name in names[-2:]:
        await room.objects.put(str(name), b"")
    archiver = room.archiver()
    await archiver.turn(room.stop)
    assert [await room.objects.get(str(name)) for name in names] == files
    assert archiver.alarms == {}
    room.live.remove_before(TOPIC, 0, names[-1].end)
    await room.objects.put(str(names[-1]), b"")
    archiver = room.archiver()
    await archiver.turn(room.stop)
    assert "the log does not have these records any more" in "".join(archiver.alarms[TOPIC, 0])


async def test_segments_before_a_whole_one_may_be_broken_too(room: Room) -> None:
    """After a power cut, whichever the disk had written."""
    await room.append(80)
    await room.archiver().turn(room.stop)
    names = await room.names()
    files = [await room.objects.get(str(name)) for name in names]
    await room.objects.put(str(names[0]), b"")
    whole = files[2] or b""
    await room.objects.put(str(names[2]), whole[:90] + bytes(len(whole[90:95])) + whole[95:])
    archiver = room.archiver()
    await archiver.turn(room.stop)
    assert [await room.objects.get(str(name)) for name in names] == files
    assert archiver.alarms == {}
    for name in names[1:3]:
        await room.objects.put(str(name), b"")
    room.live.remove_before(TOPIC, 0, names[1].end)
    archiver = room.archiver()
    await archiver.turn(room.stop)
    (said,) = archiver.alarms[TOPIC, 0]
    assert str(names[1]) in said, "the log still had the other"
    assert await room.objects.get(str(names[2])) == files[2]


async def test_what_is_broken_is_not_written_from_another_log(room: Room) -> None:
    await room.append(60)
    await room.archiver().turn(room.stop)
    names = await room.names()
    await room.objects.put(str(names[0]), b"")
    room.log.create(TOPIC, 1)
    await room.log.append([Outgoing(TOPIC, KEY, b"other %d" % number) for number in range(60)])
    archiver = room.archiver()
    await archiver.turn(room.stop)
    assert "it is another log" in "".join(archiver.alarms[TOPIC, 0])
    assert await room.objects.get(str(names[0])) == b""


async def test_retention_while_the_last_segments_are_checked_waits_for_the_next_turn(room: Room) -> None:
    """It passes the last archived record, and another partition is archived in the same turn."""

    class Shrinking(FakeHistory):
        async def records(self, span: Span) -> AsyncIterator[Record]:
            if (span.partition, span.first, span.end) == (0, 19, 20):
                self.remove_before(TOPIC, 0, 20)
            async for record in super().records(span):
                yield record

    room.log.create(TOPIC, 2)
    records = [Record(Place(TOPIC, 0, n), KEY, b"value %03d" % n, (), START) for n in range(40)]
    room.log.topics[TOPIC][0] += records[:20]
    first = room.archiver(size=1000)
    await first.turn(room.stop)
    room.clock.moment += HOUR
    await first.turn(room.stop)
    room.log.topics[TOPIC][0] += records[20:]
    room.log.topics[TOPIC][1] += [Record(Place(TOPIC, 1, n), KEY, b"v" * 90, (), START) for n in range(20)]
    room.live = Shrinking(room.log)
    archiver = room.archiver()
    await archiver.turn(room.stop)
    kept = await archived(room.objects, TOPIC)
    assert kept[0][-1].end == 20 and kept[1]
    await archiver.turn(room.stop)
    assert (await archived(room.objects, TOPIC))[0][-1].end > 20
    assert archiver.alarms == {}


async def test_what_could_not_be_read_at_the_beginning_is_no_alarm_any_more_when_it_can(room: Room) -> None:
    class Unreadable(FakeHistory):
        mended = False

        async def records(self, span: Span) -> AsyncIterator[Record]:
            if not self.mended:
                raise InvalidResource("history", "topic/0/19", "here stands what is no Kafka record")
            async for record in super().records(span):
                yield record

    await room.append(20)
    await room.archiver().turn(room.stop)
    live = room.live = Unreadable(room.log)
    archiver = room.archiver()
    for _ in range(2):
        await archiver.turn(room.stop)
        assert archiver.alarms == {(TOPIC, 0): ["history: topic/0/19: here stands what is no Kafka record"]}
    live.mended = True
    await archiver.turn(room.stop)
    assert archiver.alarms == {}
