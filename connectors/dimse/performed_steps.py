"""The steps that modalities work on, from N-CREATE to their end: kept where a killed process finds them again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from weakref import WeakValueDictionary

from connectors.dimse.answers import DUPLICATE, NO_LONGER, SUCCESS, TOO_MANY, UNKNOWN, Answer
from connectors.dimse.performed_procedure_step import SOURCE, Change, PerformedStep, Status, notices_of
from schemas.case_store import Positions
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Clock
from schemas.study_ports import Tell

#: steps at their end whose last N-SET may come once more, because its answer was lost
_REMEMBERED = 1000
#: instances of a step, over all its messages: one notice names them
_INSTANCES = 100_000


class PerformedSteps:
    """A step is kept before its N-CREATE is answered, told before its last N-SET is, and then forgotten."""

    def __init__(self, positions: Positions, tell: Tell, clock: Clock) -> None:
        self._positions = positions
        self._tell = tell
        self._clock = clock
        self._over: OrderedDict[SOPInstanceUID, bytes] = OrderedDict()
        self._locks: WeakValueDictionary[SOPInstanceUID, asyncio.Lock] = WeakValueDictionary()

    async def create(self, uid: SOPInstanceUID, step: PerformedStep) -> Answer:
        """Raises Unavailable."""
        async with self._lock(uid):
            known = await self._kept(uid)
            if known is None and uid not in self._over:
                await self._keep(uid, step)
                return SUCCESS
            return SUCCESS if known is not None and known.is_repeated_by(step) else DUPLICATE

    async def set(self, uid: SOPInstanceUID, change: Change) -> Answer:
        """Raises Unavailable."""
        async with self._lock(uid):
            if uid in self._over:
                return SUCCESS if self._over[uid] == _digest(change) else NO_LONGER
            known = await self._kept(uid)
            if known is None:
                return UNKNOWN
            step = known.changed(change.series)
            if len(step.instances) > _INSTANCES:
                return TOO_MANY
            if change.status is Status.IN_PROGRESS:
                if step != known:
                    await self._keep(uid, step)
                return SUCCESS
            if change.status is Status.COMPLETED:
                await self._tell(notices_of(step, uid, self._clock.now()))
            await self._positions.remove_position(_name(uid))
            self._end(uid, change)
            return SUCCESS

    def _lock(self, uid: SOPInstanceUID) -> asyncio.Lock:
        return self._locks.setdefault(uid, asyncio.Lock())

    async def _kept(self, uid: SOPInstanceUID) -> PerformedStep | None:
        kept = await self._positions.position(_name(uid))
        return None if kept is None else PerformedStep.model_validate_json(kept)

    async def _keep(self, uid: SOPInstanceUID, step: PerformedStep) -> None:
        await self._positions.put_position(_name(uid), step.model_dump_json())

    def _end(self, uid: SOPInstanceUID, change: Change) -> None:
        self._over[uid] = _digest(change)
        if len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)


def _digest(change: Change) -> bytes:
    """What is remembered of it: a thousand lists of instances would be gigabytes."""
    return hashlib.sha256(json.dumps([change.status, change.series], sort_keys=True).encode("ascii")).digest()


def _name(uid: SOPInstanceUID) -> str:
    return f"{SOURCE}/{uid}"
