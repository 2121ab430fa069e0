"""Records of the log on their way to a person's eyes: first it is written who sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from schemas.ports import Clock, EventLog, Place, Record
from streams import topics
from streams.audit.acts import Actor, audited, looked

#: who did what with which model, and what was signed: nothing there is about a patient, and an act about looking at acts would
#: be followed by another for ever
_WITHOUT_PATIENTS = {topics.AUDIT.name, topics.MODELS.name, topics.CHECKPOINTS.name}
#: of one act: records, and their bytes
_MOST, _MOST_BYTES = 100, 32 * 1024 * 1024
#: what is there at once comes within this time, of what is followed the next may be long in coming
_LINGER_S = 0.2


async def seen(log: EventLog, records: AsyncIterator[Record], what: str, who: Actor, clock: Clock) -> AsyncIterator[Record]:
    """The same records, each only after an act on `radstream.audit` names its place. Raises as `records`, BrokerUnavailable (what
    cannot be audited is not shown)."""
    async with aclosing(_together(records)) as batches:
        async for batch in batches:
            if places := [record.place for record in batch if record.place.topic not in _WITHOUT_PATIENTS]:
                act = looked(what, who, at=clock.now(), places=places)
                await audited(log, f"looked.{what}", act)
            for record in batch:
                yield record


async def about_to_see(log: EventLog, places: Iterable[Place], what: str, who: Actor, clock: Clock) -> None:
    """One act at least; of many places several. What is shown at once of the records there is shown after this returned, or not at
    all. Raises BrokerUnavailable."""
    of = list(dict.fromkeys(places))
    for begin in range(0, max(len(of), 1), _MOST):
        await audited(log, f"looked.{what}", looked(what, who, at=clock.now(), places=of[begin : begin + _MOST]))


async def _together(records: AsyncIterator[Record]) -> AsyncGenerator[list[Record]]:
    """Those that are there at once: few acts, and none that waits for a record to come."""
    batch: list[Record] = []
    coming = asyncio.ensure_future(anext(records, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=_LINGER_S if batch else None)
            if coming.done():
                record = coming.result()
                if record is None:
                    break
                batch.append(record)
                coming = asyncio.ensure_future(anext(records, None))
                if len(batch) < _MOST and sum(len(one.value) for one in batch) < _MOST_BYTES:
                    continue
            yield batch
            batch = []
        if batch:
            yield batch
    finally:
        coming.cancel()
        await asyncio.wait({coming})
