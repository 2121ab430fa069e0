"""What a person must know of archiving: records that retention took or nobody can read, another log; and where it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from schemas.errors import InvalidResource, RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams.health import Health, Part, Shared, read_health
from streams.segments.history import ArchivedHistory
from streams.segments.names import archived, gaps
from tests.contract.fake_event_log import START
from tests.contract.fake_history import FakeHistory
from tests.unit.archiving_room import HOUR, KEY, TOPIC, Room


@pytest.fixture
def room() -> Room:
    return Room()


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
    history = ArchivedHistory(room.objects, room.live, [TOPIC])
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
