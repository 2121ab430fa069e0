"""The window: no completion order ever commits past an unfinished record, nor breaks the order of a key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ports import Place, Record
from streams.window import LowWater, Ticket, Window

STAT, ROUTINE, BULK = "stat", "routine", "bulk"


def record(offset: int, *, topic: str = ROUTINE, partition: int = 0, key: bytes | None = None) -> Record:
    return Record(Place(topic, partition, offset), key, b"", (), datetime(2026, 1, 1, tzinfo=UTC))


def started(window: Window) -> list[Ticket]:
    found = []
    while (ticket := window.start()) is not None:
        found.append(ticket)
    return found


@given(st.lists(st.integers(1, 4), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_mark_is_the_first_unfinished_offset_in_any_order_of_completion(gaps: list[int], random: object) -> None:
    offsets = [sum(gaps[: n + 1]) for n in range(len(gaps))]  # with holes, as compaction leaves them
    water = LowWater()
    for offset in offsets:
        water.admit(offset)
    unfinished = set(offsets)
    order = list(offsets)
    random.shuffle(order)  # type: ignore[attr-defined]
    for offset in order:
        assert water.mark == min(unfinished)
        water.finish(offset)
        unfinished.discard(offset)
    assert water.mark == offsets[-1] + 1


def test_before_the_first_record_there_is_nothing_to_commit() -> None:
    assert LowWater().mark is None
    assert Window(2).marks() == {}


def test_an_offset_that_goes_back_is_refused() -> None:
    water = LowWater()
    water.admit(5)
    with pytest.raises(ValueError, match="5"):
        water.admit(5)


@given(
    data=st.data(),
    size=st.integers(2, 5),
    arrivals=st.lists(
        st.tuples(st.sampled_from([STAT, ROUTINE, BULK]), st.integers(0, 1), st.sampled_from([None, b"a", b"b", b"c"]))
    ),
)
def test_any_history(data: st.DataObject, size: int, arrivals: list[tuple[str, int, bytes | None]]) -> None:
    window = Window(size, first=STAT, reserved=1, last=BULK)
    ends: dict[tuple[str, int], int] = {}
    finished: set[Place] = set()
    admitted: list[Record] = []
    flying: list[Ticket] = []
    ran: list[Record] = []
    queue = list(arrivals)
    while queue or flying:
        if queue and (not flying or data.draw(st.booleans(), label="admit")):
            topic, number, key = queue.pop(0)
            offset = ends.get((topic, number), 0)
            ends[topic, number] = offset + 1
            admitted.append(record(offset, topic=topic, partition=number, key=key))
            window.admit(admitted[-1])
        elif flying:
            done = flying.pop(data.draw(st.integers(0, len(flying) - 1), label="finish"))
            window.finish(done)
            finished.add(done.record.place)
        while (ticket := window.start()) is not None:
            if ticket.record.place.topic == BULK:
                assert {one.place.topic for one in admitted if one not in ran} == {BULK}, "another waits"
                assert len(flying) < max(size - 2, 1), "it took the last free slots"
            flying.append(ticket)
            ran.append(ticket.record)
        assert len(flying) <= size
        assert sum(one.record.place.topic != STAT for one in flying) <= size - 1
        keys = [one.record.key for one in flying if one.record.key is not None]
        assert len(keys) == len(set(keys)), "one key twice in flight"
        for (topic, number), mark in window.marks().items():
            before = [one.place for one in admitted if one.place.topic == topic and one.place.partition == number]
            assert {place for place in before if place.offset < mark} <= finished
    assert finished == {one.place for one in admitted}
    assert dict(window.marks()) == ends
    for topic in (STAT, ROUTINE, BULK):
        for key in (b"a", b"b", b"c"):
            for number in (0, 1):
                own = [
                    one.place.offset for one in ran if one.key == key and one.place.topic == topic and one.place.partition == number
                ]
                assert own == sorted(own)


def test_bulk_waits_for_all_others_and_leaves_them_slots() -> None:
    window = Window(4, first=STAT, reserved=1, last=BULK)
    for offset in range(4):
        window.admit(record(offset, topic=BULK))
    assert len(started(window)) == 2
    window.admit(record(0, key=b"a"))
    window.admit(record(1, key=b"a"))
    (ordinary,) = started(window)
    assert ordinary.record.place.topic == ROUTINE, "it found a slot"
    window.admit(record(0, topic=STAT))
    (urgent,) = started(window)
    assert urgent.record.place.topic == STAT, "it found its own"
    window.finish(urgent)
    window.finish(ordinary)
    (again,) = started(window)
    assert again.record.place == Place(ROUTINE, 0, 1)
    window.finish(again)
    assert started(window) == [], "two of the bulk lane are still in flight"


def test_bulk_goes_on_in_the_smallest_window() -> None:
    window = Window(2, first=STAT, reserved=1, last=BULK)
    window.admit(record(0, topic=BULK))
    window.admit(record(1, topic=BULK))
    (one,) = started(window)
    window.finish(one)
    assert len(started(window)) == 1


def test_a_full_queue_of_bulk_keeps_nobody_away() -> None:
    window = Window(2, first=STAT, reserved=1, last=BULK)
    for offset in range(3):
        window.admit(record(offset, topic=BULK))
    assert not window.wants(BULK)
    assert window.wants(ROUTINE)
    assert window.wants(STAT)


def test_the_urgent_topic_overtakes_and_has_a_slot() -> None:
    window = Window(3, first=STAT, reserved=1)
    for offset in range(5):
        window.admit(record(offset))
    assert [one.record.place.offset for one in started(window)] == [0, 1]
    window.admit(record(0, topic=STAT))
    (urgent,) = started(window)
    assert urgent.record.place.topic == STAT
    window.finish(urgent)
    assert started(window) == [], "its slot stays free for the next urgent one"


def test_beside_an_urgent_one_the_others_go_on_one_at_a_time() -> None:
    window = Window(4, first=STAT, reserved=1, last=BULK)
    for offset in range(5):
        window.admit(record(offset))
    routine = started(window)
    assert len(routine) == 3
    window.admit(record(0, topic=STAT))
    [urgent] = started(window)
    for ticket in routine[:2]:
        window.finish(ticket)
        assert started(window) == []
    window.finish(routine[2])
    assert len(started(window)) == 1, "an urgent one that hangs stops nobody"
    window.finish(urgent)
    assert len(started(window)) == 1
    assert window.start() is None


def test_a_full_queue_of_the_others_does_not_keep_the_urgent_topic_away() -> None:
    window = Window(2, first=STAT, reserved=1)
    for offset in range(3):
        window.admit(record(offset))
    assert not window.wants(ROUTINE)
    assert window.wants(STAT)


def test_without_an_urgent_topic_all_slots_are_open() -> None:
    window = Window(2)
    for offset in range(3):
        window.admit(record(offset))
    assert len(started(window)) == 2


def test_committed_marks_are_not_committed_again() -> None:
    window = Window(2)
    window.admit(record(7))
    (ticket,) = started(window)
    window.committed(window.marks())
    assert window.marks() == {}
    window.finish(ticket)
    assert window.marks() == {(ROUTINE, 0): 8}


def test_an_abandoned_record_holds_the_mark() -> None:
    window = Window(2)
    for offset in range(2):
        window.admit(record(offset))
    first, second = started(window)
    window.abandon(first)
    window.finish(second)
    assert window.marks() == {(ROUTINE, 0): 0}


def test_what_has_not_started_holds_the_mark_when_dropped() -> None:
    window = Window(2)
    for offset in range(4):
        window.admit(record(offset))
    tickets = started(window)
    window.drop_waiting()
    for ticket in tickets:
        window.finish(ticket)
    assert started(window) == []
    assert window.marks() == {(ROUTINE, 0): 2}


def test_a_revoked_partition_counts_no_more_even_when_it_comes_back() -> None:
    window = Window(3)
    window.admit(record(0, key=b"a"))
    window.admit(record(0, partition=1, key=b"b"))
    old, other = started(window)
    window.revoke({(ROUTINE, 0)})
    window.admit(record(0, key=b"a"))  # assigned again, read again from what was committed
    assert started(window) == [], "the same record is still in flight"
    window.finish(old)
    (again,) = started(window)
    assert window.marks()[ROUTINE, 0] == 0, "the old flight finished nothing of the new assignment"
    window.finish(again)
    window.finish(other)
    assert window.marks() == {(ROUTINE, 0): 1, (ROUTINE, 1): 1}


def test_more_reserved_than_there_is() -> None:
    with pytest.raises(ValueError, match="reserved"):
        Window(2, first=STAT, reserved=2)
