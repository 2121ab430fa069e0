"""Records by their places: those of a case, those that led to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass

from schemas.errors import InvalidResource, RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.ports import Place, Record

_AT_A_TIME = 8
#: records between two that are read and passed over, rather than to begin anew behind them
_GAP = 100


@dataclass(frozen=True, slots=True)
class Missing:
    """A place where there is no record, and why."""

    place: Place
    why: str


async def each_at(history: History, places: Iterable[Place]) -> AsyncIterator[Record | Missing]:
    """Each place once, by topic, partition and offset; one record at a time is held. Raises BrokerUnavailable,
    ObjectStoreUnavailable."""
    for near in _near(frozenset(places)):
        async for found in _together(history, near):
            yield found


async def records_at(history: History, places: Iterable[Place]) -> tuple[dict[Place, Record], dict[Place, str]]:
    """Those that are there, and of the others why they are not: all in memory. Raises as `each_at`."""
    records, gone = dict[Place, Record](), dict[Place, str]()
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def read(near: list[Place]) -> None:
        async with turns:
            async for found in _together(history, near):
                if isinstance(found, Missing):
                    gone[found.place] = found.why
                else:
                    records[found.place] = found

    await asyncio.gather(*map(read, _near(frozenset(places))))
    return records, gone


async def _together(history: History, near: list[Place]) -> AsyncIterator[Record | Missing]:
    """In one read, as far as they are there; in a few more what stands beside those that are not."""
    stretches = [near]
    while stretches:
        stretch = stretches.pop()
        first, last, left = stretch[0], stretch[-1], dict.fromkeys(stretch)
        try:
            async for record in history.records(Span(first.topic, first.partition, first.offset, last.offset + 1)):
                if record.place in left:
                    del left[record.place]
                    yield record
        except TopicMissing:
            why = "removed (its topic is not there)"
        except (RecordsRemoved, InvalidResource) as error:
            # on the log or in the archive: the error knows, and what is wrong there
            unreadable = f"cannot be read: {error.reference}: {error.reason}"
            why = "removed (retention)" if isinstance(error, RecordsRemoved) else unreadable
            if len(left) > 1:  # the others may be there
                there = await _held(history, list(left)) if isinstance(error, RecordsRemoved) else list(left)
                half = len(there) // 2 if len(there) == len(left) else 0
                stretches += [some for some in (there[half:], there[:half]) if some]
                for place in there:
                    del left[place]
        else:
            why = "removed (no record stands there)"
        for place in left:
            yield Missing(place, why)


async def _held(history: History, of: list[Place]) -> list[Place]:
    """Those that are not before the beginning of their partition or behind its end: retention takes many at once."""
    try:
        spans = await history.spans(of[0].topic)
    except TopicMissing:
        return []
    except (RecordsRemoved, InvalidResource):
        return of
    held = {span.partition: range(span.first, span.end) for span in spans}.get(of[0].partition, range(0))
    return [place for place in of if place.offset in held]


def _near(places: Iterable[Place]) -> Iterator[list[Place]]:
    near: list[Place] = []
    for place in sorted(places, key=lambda one: (one.topic, one.partition, one.offset)):
        last = near[-1] if near else place
        if (last.topic, last.partition) != (place.topic, place.partition) or place.offset - last.offset > _GAP:
            yield near
            near = []
        near.append(place)
    if near:
        yield near
