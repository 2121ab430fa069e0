"""From the topics to closed segments, over a log and objects in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from connectors.objects import in_memory
from schemas.errors import InvalidResource, ObjectStoreUnavailable, RecordsRemoved
from schemas.history import Span
from schemas.ports import ObjectStore, Outgoing, Place, Record
from streams.health import Health, Part, Shared, read_health
from streams.segments.archiving import Archiver
from streams.segments.history import ArchivedHistory
from streams.segments.names import SegmentName, archived, gaps
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


class Killed(BaseException):
    """As a process that is killed: nobody catches it."""


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
        return await everything(ArchivedHistory(self.objects, self.live), TOPIC)


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


async def test_a_record_that_cannot_be_read_stops_its_own_partition_and_no_other(room: Room, tmp_path: Path) -> None:
    class Unreadable(FakeHistory):
        mended = False

        async def records(self, span: Span) -> AsyncIterator[Record]:
            async for record in super().records(span):
                if record.place.partition == 0 and record.place.offset == 15 and not self.mended:
                    raise InvalidResource("history", "topic/0/15", "here stands what is no Kafka record")
                yield record

    room.log.create(TOPIC, 2)
    for number in range(2):
        room.log.topics[TOPIC][number] += [Record(Place(TOPIC, number, n), KEY, b"value %03d" % n, (), START) for n in range(40)]
    room.live = Unreadable(room.log)
    archiver = room.archiver()
    for _ in range(2):
        await archiver.turn(room.stop)
        room.clock.moment += HOUR
    kept = await archived(room.objects, TOPIC)
    assert [kept[number][-1].end for number in range(2)] == [15, 40]
    assert archiver.alarms == {(TOPIC, 0): ["history: topic/0/15: here stands what is no Kafka record"]}
    room.live.mended = True
    await archiver.turn(room.stop)
    room.clock.moment += HOUR
    await archiver.turn(room.stop)
    assert (await archived(room.objects, TOPIC))[0][-1].end == 40
    assert archiver.alarms == {}, "it goes on, as nothing is lacking"


async def test_a_slow_clock_makes_no_segment_of_every_record(room: Room) -> None:
    archiver = room.archiver(size=10**6)
    room.clock.moment = START + timedelta(days=400)
    for _ in range(5):
        await room.append(1)
        await archiver.turn(room.stop)
        room.clock.moment += timedelta(minutes=20)
    assert [(one.first, one.end) for one in await room.names()] == [(0, 1), (1, 4)]


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


async def test_retention_that_was_faster_is_an_alarm_and_a_gap(room: Room) -> None:
    archiver = room.archiver()
    await room.append(20)
    await archiver.turn(room.stop)
    await room.append(20)
    room.live.remove_before(TOPIC, 0, 30)
    await archiver.turn(room.stop)
    assert archiver.alarms == {(TOPIC, 0): ["retention removed topic/0/20-30 before it was archived"]}
    names = await room.names()
    assert gaps(names) == [Span(TOPIC, 0, 20, 30)]
    history = ArchivedHistory(room.objects, room.live)
    with pytest.raises(RecordsRemoved, match="20-30"):
        await anext(history.records(Span(TOPIC, 0, 0, 40)))
    assert [one.place.offset async for one in history.records(Span(TOPIC, 0, 0, 20))] == list(range(20))
    assert [one.place.offset async for one in history.records(Span(TOPIC, 0, 30, 40))] == list(range(30, 40))


async def test_retention_while_it_reads(room: Room) -> None:
    class Shrinking(FakeHistory):
        async def records(self, span: Span) -> AsyncIterator[Record]:
            if span.first == 0:
                self.remove_before(TOPIC, 0, 25)
            async for record in super().records(span):
                yield record

    room.live = Shrinking(room.log)
    archiver = room.archiver()
    await room.append(40)
    await archiver.turn(room.stop)
    assert await room.names() == []
    await archiver.turn(room.stop)
    assert archiver.alarms == {(TOPIC, 0): ["retention removed topic/0/0-25 before it was archived"]}
    assert (await room.names())[0].first == 25


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


async def test_another_log_under_the_same_name_is_an_alarm(room: Room) -> None:
    await room.append(20)
    await room.archiver().turn(room.stop)
    before = await room.names()
    for count, said in ((3, "ends at 3, before what is archived"), (40, "another record in the archive than on the log")):
        room.log.create(TOPIC, 1)  # as when a topic was deleted
        await room.log.append([Outgoing(TOPIC, KEY, b"other") for _ in range(count)])
        archiver = room.archiver()
        await archiver.turn(room.stop)
        await archiver.turn(room.stop)
        assert said in "".join(archiver.alarms[TOPIC, 0])
        assert await room.names() == before


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


async def test_every_gap_is_told_again_after_a_restart(room: Room, tmp_path: Path) -> None:
    for end in (30, 70):
        archiver = room.archiver()
        await room.append(20)
        await archiver.turn(room.stop)
        await room.append(20)
        room.live.remove_before(TOPIC, 0, end)
        await archiver.turn(room.stop)
    lost = ["retention removed topic/0/20-30 before it was archived", "retention removed topic/0/60-70 before it was archived"]
    assert archiver.alarms == {(TOPIC, 0): lost}
    again = room.archiver()
    await again.turn(room.stop)
    assert again.alarms == {(TOPIC, 0): lost}
    health = Shared(Health(tmp_path, "work-keep")).part("archive")

    class Ending(Part):
        def set(self, state: str, reason: str = "", note: str = "") -> None:
            super().set(state, reason, note)
            if "retention" in note:
                room.stop.set()

    await room.archiver().run(room.stop, Ending(health.shared, health.name), look_s=0.001)
    told = read_health(tmp_path)["work-keep"]
    assert (told.state, told.reason, told.note) == ("ready", "", f"archive: {lost[1]}; {lost[0]}")


async def test_a_health_names_a_few_alarms_and_counts_the_others(room: Room) -> None:
    archiver = room.archiver()
    for number in range(10):
        archiver._alarm((TOPIC, 0), f"alarm {number}")
    reason, note = archiver._said()
    assert reason.startswith("alarm 9; ") and not note
    assert reason.endswith("alarm 2; 2 more: see radstream topics archived")


async def test_a_long_first_turn_keeps_nobody_waiting(room: Room, tmp_path: Path) -> None:
    part = Shared(Health(tmp_path, "work-keep")).part("archive")
    seen: list[str] = []

    class Looked(FakeHistory):
        async def spans(self, topic: str) -> Sequence[Span]:
            seen.append(read_health(tmp_path)["work-keep"].state)
            room.stop.set()
            return await super().spans(topic)

    room.live = Looked(room.log)
    await room.archiver().run(room.stop, part, look_s=0.001)
    assert seen[0] == "ready"


async def test_its_health_tells_what_a_person_must_know(room: Room, tmp_path: Path) -> None:
    part = Shared(Health(tmp_path, "work-keep")).part("archive")

    class Shrinking(FakeHistory):
        """From the second look on, retention was at work."""

        async def spans(self, topic: str) -> Sequence[Span]:
            if room.clock.moment > START:
                self.remove_before(TOPIC, 0, 20)
            room.clock.moment += HOUR
            return await super().spans(topic)

    class Ending(Part):
        def set(self, state: str, reason: str = "", note: str = "") -> None:
            super().set(state, reason, note)
            if "retention" in note:
                room.stop.set()

    room.live = Shrinking(room.log)
    await room.append(12)
    await room.append(20)
    await room.archiver(size=100).run(room.stop, Ending(part.shared, part.name), look_s=0.001)
    health = read_health(tmp_path)["work-keep"]
    assert (health.state, health.reason) == ("ready", "")
    assert "retention removed" in health.note
