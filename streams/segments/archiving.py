"""From the topics to closed segments: one is put whole when it is large or old enough, and the position is what the store holds. So
a crash at any moment reads some records again, and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from schemas.errors import (
    AccessRefused,
    BrokerUnavailable,
    InvalidResource,
    ObjectStoreUnavailable,
    RecordsRemoved,
    TopicMissing,
    Unavailable,
)
from schemas.history import History, Span
from schemas.ports import Clock, ObjectStore
from streams.health import Part
from streams.segments.names import SegmentName, archived, gaps
from streams.segments.open_segment import OpenSegment
from streams.segments.wholeness import broken_of, last_whole, on_the_log

_log = structlog.get_logger(__name__)

#: between two looks at the log
_LOOK_S = 10.0
#: of each partition, at the start: more than are written in the minute that a machine without power may forget
_CHECKED = 64
#: alarms in the health
_TOLD = 8


@dataclass(slots=True)
class _Partition:
    """`trouble`: why nothing more is archived of it. `seen`: when the first record of what grows was read; `closed`: when a segment
    was closed last."""

    growing: OpenSegment
    trouble: str = ""
    seen: datetime | None = None
    closed: datetime | None = None


class Archiver:
    """`size`: bytes of records from which on a segment is closed; `age`: of its first record, likewise. `alarms`: what a person
    must know, by topic and partition."""

    def __init__(
        self, objects: ObjectStore, live: History, clock: Clock, topics: Sequence[str], *, size: int, age: timedelta
    ) -> None:
        self._objects, self._live, self._clock = objects, live, clock
        self._topics, self._size, self._age = tuple(topics), size, age
        self._partitions: dict[tuple[str, int], _Partition] = {}
        #: why nothing more is archived of a partition, as long as it is so
        self._unreadable: dict[tuple[str, int], str] = {}
        #: of the last turn
        self._away: list[BrokerUnavailable] = []
        #: those of the alarms that nobody can mend any more
        self._gaps: set[str] = set()
        self.alarms: dict[tuple[str, int], list[str]] = {}

    async def run(self, stop: asyncio.Event, health: Part, *, look_s: float = _LOOK_S) -> None:
        """Until `stop`. A broker or object store that is away, or refuses, is waited for: nothing is lost while the log has it."""
        health.set("ready")  # the rest of the engine need not wait for a long first turn
        while not stop.is_set():
            try:
                await self.turn(stop)
                health.set("ready", *self._said())
            except (Unavailable, AccessRefused) as error:
                _log.warning("the archive of the log waits", error=str(error))
                health.set("paused", str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), look_s)

    async def turn(self, stop: asyncio.Event) -> None:
        """All that is on the log now. A topic or partition without a leader keeps no other from being archived. Raises
        BrokerUnavailable (of every topic), ObjectStoreUnavailable, AccessRefused: the next turn goes on."""
        self._away, answered = [], False
        for topic in self._topics:
            try:
                spans = await self._live.spans(topic)
            except TopicMissing:  # nobody has made it yet
                spans = ()
            except BrokerUnavailable as error:
                self._waits(error)
                continue
            answered = True
            for span in spans:
                if not stop.is_set():
                    await self._followed(span, stop)
        if self._away and not answered:
            raise self._away[0]

    async def _followed(self, span: Span, stop: asyncio.Event) -> None:
        try:
            await self._follow(span, stop)
        except TopicMissing:  # meanwhile
            pass
        except RecordsRemoved as error:  # likewise: the next turn sees what is left
            _log.warning("retention was at work: the archive of the log looks again", error=str(error))
        except BrokerUnavailable as error:
            self._waits(error)
        except InvalidResource as error:  # what stands before it is archived
            self._tell_unreadable((span.topic, span.partition), str(error))

    def _waits(self, error: BrokerUnavailable) -> None:
        _log.warning("the archive of the log waits", error=str(error))
        self._away.append(error)

    async def _follow(self, live: Span, stop: asyncio.Event) -> None:
        key = live.topic, live.partition
        if key not in self._partitions:
            begun = await self._begun(live, stop)
            if stop.is_set():
                return
            self._partitions[key] = begun
            self._tell_unreadable(key, "")
        partition = self._partitions[key]
        if partition.trouble:
            return
        growing = partition.growing
        if live.end < growing.end:
            partition.trouble = f"{live.topic}/{live.partition} ends at {live.end}, before what is archived: it is another log"
            self._alarm(key, partition.trouble)
            return
        if live.first > growing.end:
            lost = Span(*key, growing.end, live.first)
            self._gap(key, lost)
            if growing.begun:
                await self._close(partition)
            partition.growing = OpenSegment(*key, live.first)
        if partition.growing.size >= self._size:  # the store was away
            await self._close(partition)
        try:
            async for record in self._live.records(Span(*key, partition.growing.end, live.end)):
                partition.growing.add(record)
                partition.seen = partition.seen or self._clock.now()
                if partition.growing.size >= self._size:
                    await self._close(partition)
                    if stop.is_set():
                        return
        except InvalidResource as error:  # what stands before it is archived
            self._tell_unreadable(key, str(error))
        else:
            self._tell_unreadable(key, "")
            partition.growing.cover(live.end)
        if self._is_old(partition):
            await self._close(partition)

    def _is_old(self, partition: _Partition) -> bool:
        """A sender whose clock is fast must not keep it open: at the latest it begins when it was seen. One whose clock is slow
        must not make a segment of every record: two ends by age are `age` apart."""
        if partition.growing.begun is None or partition.seen is None:
            return False
        begun = min(partition.growing.begun, partition.seen)
        return self._clock.now() - max(begun, partition.closed or begun) >= self._age

    async def _close(self, partition: _Partition) -> None:
        name, file = partition.growing.closed()
        await self._put(name, file)
        partition.growing = OpenSegment(name.topic, name.partition, name.end)
        partition.seen, partition.closed = None, self._clock.now()

    async def _put(self, name: SegmentName, file: bytes) -> None:
        """Soon it is the only copy: it is read back."""
        await self._objects.put(str(name), file)
        if await self._objects.get(str(name)) != file:
            raise ObjectStoreUnavailable("segments", str(name), "the object store gave back other bytes than it was given")
        _log.info("segment-closed", segment=str(name), bytes=len(file))

    async def _begun(self, live: Span, stop: asyncio.Event) -> _Partition:
        """Behind what is archived, once its last segments are seen to be whole and of this log; at the log's first record where
        nothing is."""
        key = live.topic, live.partition
        names = (await archived(self._objects, live.topic)).get(live.partition, [])
        if not names:
            return _Partition(OpenSegment(*key, live.first))
        for lost in gaps(names):
            self._gap(key, lost)
        partition = _Partition(OpenSegment(*key, max(one.end for one in names)))
        if live.end < partition.growing.end:
            return partition  # another log, as `_follow` says: nothing is written again from it
        broken = {name: error async for name, error in broken_of(self._objects, names[-_CHECKED:], stop)}
        if stop.is_set():
            return partition
        record = await last_whole(self._objects, names, broken)
        if record is not None and await on_the_log(self._live, record, live) not in (record, None):
            partition.trouble = f"{record.place} is another record in the archive than on the log: it is another log"
            self._alarm(key, partition.trouble)
            return partition
        for name, error in broken.items():  # not before it is known to be this log
            if not await self._mended(name, live):
                self._alarm(key, f"{error}; the log does not have these records any more")
        return partition

    async def _mended(self, name: SegmentName, live: Span) -> bool:
        """Whether it could be written again from the log."""
        if live.first > name.first or live.end < name.end:
            return False
        again = OpenSegment(name.topic, name.partition, name.first)
        try:
            async for record in self._live.records(name.span):
                again.add(record)
        except (RecordsRemoved, InvalidResource):  # meanwhile
            return False
        again.cover(name.end)
        if again.begun is None or again.closed()[0] != name:
            return False
        await self._put(*again.closed())
        _log.warning("a segment that was broken was written again from the log", segment=str(name))
        return True

    def _gap(self, key: tuple[str, int], lost: Span) -> None:
        said = f"retention removed {lost} before it was archived"
        self._gaps.add(said)
        self._alarm(key, said)

    def _alarm(self, key: tuple[str, int], said: str) -> None:
        told = self.alarms.setdefault(key, [])
        if said not in told:
            _log.error("the archive of the log has a gap, or cannot go on", place="/".join(map(str, key)), reason=said)
            told.append(said)

    def _tell_unreadable(self, key: tuple[str, int], said: str) -> None:
        """Empty: it is no more."""
        before = self._unreadable.pop(key, "")
        if before and before != said:
            self.alarms[key].remove(before)
            if not self.alarms[key]:
                del self.alarms[key]
        if said:
            self._unreadable[key] = said
            self._alarm(key, said)

    def _said(self) -> tuple[str, str]:
        """For its health: why a person must act, and the gaps."""
        alarms = [said for told in self.alarms.values() for said in reversed(told)]
        mendable = [*map(str, self._away), *(said for said in alarms if said not in self._gaps)]
        return _few(mendable), _few([said for said in alarms if said in self._gaps])


def _few(alarms: Sequence[str]) -> str:
    """The last ones first, and not more than a person reads."""
    more = f"{len(alarms) - _TOLD} more: see radstream topics archived"
    return "; ".join([*alarms[:_TOLD], *([more] if len(alarms) > _TOLD else [])])
