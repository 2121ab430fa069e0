"""Records by their places: those of a case, those that led to others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from schemas.errors import InvalidResource, RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.ports import Place, Record

_AT_A_TIME = 8
#: records between two that are read and passed over, rather than to begin anew behind them
_GAP = 100


async def records_at(history: History, places: Iterable[Place]) -> tuple[dict[Place, Record], dict[Place, str]]:
    """Those that are there, and of the others why they are not. Raises BrokerUnavailable, ObjectStoreUnavailable."""
    records, gone = dict[Place, Record](), dict[Place, str]()
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def read(near: list[Place]) -> None:
        first, last = near[0], near[-1]
        try:
            async with turns:
                async for record in history.records(Span(first.topic, first.partition, first.offset, last.offset + 1)):
                    if record.place in wanted:
                        records[record.place] = record
        except (RecordsRemoved, TopicMissing, InvalidResource) as error:
            if first is last:
                gone[first] = _why(error)
            else:  # the others may be there
                await asyncio.gather(*(read([place]) for place in near if place not in records))
        else:
            gone.update((place, "removed (no record stands there)") for place in near if place not in records)

    wanted = frozenset(places)
    await asyncio.gather(*map(read, _near(wanted)))
    return records, gone


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


def _why(error: RecordsRemoved | TopicMissing | InvalidResource) -> str:
    match error:
        case RecordsRemoved():
            return "removed (retention)"
        case TopicMissing():
            return "removed (its topic is not there)"
        case InvalidResource():
            return "its archived segment is not what it was: radstream audit verify"
