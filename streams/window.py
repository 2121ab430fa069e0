"""Which of the fetched records may start now, and how far may be committed: the bookkeeping of `runner_window`, without I/O.

A record may start when a slot is free, no earlier record of its key is unfinished (the order per key holds, and a study is
never worked on twice at once), and slots reserved for the first topic (STAT) remain, unless it is of that topic. One of the last
topic (bulk) starts only when no other waits, and never in the last free slots: what comes next finds one. While one of the first
topic is in flight the others go on one at a time: they would share the machine with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

from schemas.ports import Record

Partition = tuple[str, int]


class LowWater:
    """The unfinished records of one partition since it was assigned."""

    def __init__(self) -> None:
        self._unfinished: dict[int, None] = {}  # in the order of the log
        self._next: int | None = None
        self.committed: int | None = None

    def admit(self, offset: int) -> None:
        """Raises ValueError when the offset is not after the last one."""
        if self._next is not None and offset < self._next:
            raise ValueError(f"offset {offset} comes after {self._next - 1}")
        self._unfinished[offset] = None
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """Raises KeyError when it is not unfinished."""
        del self._unfinished[offset]

    @property
    def mark(self) -> int | None:
        """What may be committed: every record before it is finished. None before the first record."""
        return next(iter(self._unfinished), self._next)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A record and the partition's assignment under which it was fetched: after a revocation it counts no more."""

    record: Record
    water: LowWater

    @property
    def partition(self) -> Partition:
        return self.record.place.topic, self.record.place.partition


class _Lane(IntEnum):
    """In the order in which they start."""

    FIRST = 0
    ORDINARY = 1
    LAST = 2


class Window:
    """At most `size` records in flight; `reserved` of these slots are for the topic `first` alone. The topic `last` leaves one
    more free, where there are so many."""

    def __init__(self, size: int, *, first: str | None = None, reserved: int = 0, last: str | None = None) -> None:
        if not 0 <= reserved < size:
            raise ValueError(f"{reserved} of {size} slots cannot be reserved")
        self._lanes = {first: _Lane.FIRST, last: _Lane.LAST}
        self._size = size
        self._open = size - reserved  # slots for any topic but the first
        self._spare = max(self._open - 1, 1)  # slots in which the last may start
        self._waiting: list[Ticket] = []
        self._in_flight: set[Ticket] = set()
        self._waters: dict[Partition, LowWater] = {}

    def wants(self, topic: str) -> bool:
        """Whether more records of the topic should be fetched; no lane is kept away by another."""
        return sum(self._lane(topic) is self._lane_of(one) for one in self._waiting) < self._size

    def admit(self, record: Record) -> None:
        """A fetched record, in the order of its partition (else ValueError)."""
        place = record.place
        water = self._waters.setdefault((place.topic, place.partition), LowWater())
        water.admit(place.offset)
        self._waiting.append(Ticket(record, water))

    def start(self) -> Ticket | None:
        """The next record that may start; from now on it is in flight."""
        busy = {one.record.key for one in self._in_flight}
        foremost = min(map(self._lane_of, self._waiting), default=_Lane.LAST)
        for ticket in sorted(self._waiting, key=self._lane_of):
            lane, key = self._lane_of(ticket), ticket.record.key
            if lane is _Lane.LAST and foremost is not lane:
                return None
            if (key is None or key not in busy) and self._has_room(lane):
                self._waiting.remove(ticket)
                self._in_flight.add(ticket)
                return ticket
            busy.add(key)  # nor may a later record of this key overtake it
        return None

    def finish(self, ticket: Ticket) -> None:
        """Its record owes nothing more."""
        self._in_flight.remove(ticket)
        ticket.water.finish(ticket.record.place.offset)

    def abandon(self, ticket: Ticket) -> None:
        """Its record remains unfinished: its partition is never committed past it under this assignment."""
        self._in_flight.remove(ticket)

    def marks(self) -> Mapping[Partition, int]:
        """What may be committed and has not been."""
        marks = {partition: (water.mark, water.committed) for partition, water in self._waters.items()}
        return {partition: mark for partition, (mark, committed) in marks.items() if mark is not None and mark != committed}

    def committed(self, marks: Mapping[Partition, int]) -> None:
        """`marks` are stored."""
        for partition, mark in marks.items():
            if partition in self._waters:
                self._waters[partition].committed = mark

    def drop_waiting(self, partitions: Collection[Partition] | None = None) -> None:
        """Forget what has not started (of these partitions, or of all); it stays unfinished."""
        self._waiting = [one for one in self._waiting if partitions is not None and one.partition not in partitions]

    def revoke(self, partitions: Collection[Partition]) -> None:
        """They belong to another process now: what is still in flight of them counts no more."""
        self.drop_waiting(partitions)
        for partition in partitions:
            self._waters.pop(partition, None)

    def _has_room(self, lane: _Lane) -> bool:
        others = sum(self._lane_of(one) is not _Lane.FIRST for one in self._in_flight)
        if lane is not _Lane.FIRST and others >= (1 if others < len(self._in_flight) else self._open):
            return False
        return len(self._in_flight) < (self._spare if lane is _Lane.LAST else self._size)

    def _lane(self, topic: str) -> _Lane:
        return self._lanes.get(topic, _Lane.ORDINARY)

    def _lane_of(self, ticket: Ticket) -> _Lane:
        return self._lane(ticket.record.place.topic)
