"""Whether the last segments of a partition are whole, and of this log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from schemas.errors import InvalidResource
from schemas.history import History, Span
from schemas.ports import ObjectStore, Record
from streams.segments.names import SegmentName
from streams.segments.segment import Segment


async def broken_of(
    objects: ObjectStore, names: Sequence[SegmentName], stop: asyncio.Event
) -> AsyncIterator[tuple[SegmentName, InvalidResource]]:
    """A machine that lost its power may have written half of each file of its last minute, or nothing but their names."""
    for name in names:
        if stop.is_set():
            return
        try:
            Segment(name, await objects.get(str(name)) or b"").check()
        except InvalidResource as error:
            yield name, error


async def last_whole(
    objects: ObjectStore, names: Sequence[SegmentName], broken: dict[SegmentName, InvalidResource]
) -> Record | None:
    """The last record of the last segment that can be read; those behind it are broken too."""
    for name in reversed(names):
        if name not in broken:
            try:
                return list(Segment(name, await objects.get(str(name)) or b"").records())[-1]
            except InvalidResource as error:
                broken[name] = error
    return None


async def on_the_log(history: History, record: Record, live: Span) -> Record | None:
    """What the log has in its place; None where it has none any more, or not so many. `live`: what the log has."""
    at = record.place.offset
    if not live.first <= at < live.end:
        return None
    found = [one async for one in history.records(Span(live.topic, live.partition, at, at + 1))]
    return found[0] if found else None
