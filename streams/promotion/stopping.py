"""Whether every worker that spoke with a recalled model has stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from schemas.errors import MalformedMessage
from schemas.ports import EventLog
from streams import topics
from streams.health import RoleHealth
from streams.promotion.acts import Acts
from streams.promotion.promoting import Say, lives


async def stopped_by_all(log: EventLog, reference: str, wait_s: float, say: Say, roles: Mapping[str, RoleHealth]) -> bool:
    """Of the living workers that used NAME/VERSION when the recall was told, each has said since what it uses now. `roles`: health
    of those on this machine. Raises BrokerUnavailable."""
    acts = Acts()
    using: set[str] = set()

    async def hear() -> None:
        recalled_at: int | None = None
        async for record in log.read(topics.MODELS.name, follow=True):
            try:
                acts.see(record)
            except MalformedMessage:
                continue
            if recalled_at is None and reference in acts.recalled:
                recalled_at = record.place.offset
                living = {key for key, taken in acts.workers.items() if lives(taken, taken.event.service, roles)}
                using.update(key for key in living if _uses(acts, key, reference))
            for key in sorted(using):
                if key not in acts.workers or acts.workers[key].place.offset > (recalled_at or 0):
                    say(_now(acts, key))
                    using.discard(key)
            if recalled_at is not None and not using:
                return

    try:
        await asyncio.wait_for(hear(), wait_s)
    except TimeoutError:
        for key in sorted(using):
            worker = acts.workers[key].event.worker
            say(f"{worker} has not said within {wait_s:g} s that it stopped: radstream model list, radstream doctor.")
        return False
    return True


def _uses(acts: Acts, key: str, reference: str) -> bool:
    event = acts.workers[key].event
    return f"{event.name}/{event.version}" == reference


def _now(acts: Acts, key: str) -> str:
    if key not in acts.workers:
        return f"{key} has ended."
    event = acts.workers[key].event
    uses = f"{event.name}/{event.version}"
    return f"{event.worker} uses {'nothing' if uses in acts.recalled else uses} now."
