"""`radstream dead-letters discard`: nobody needs to look at them any more. They stay where they are; the act says who and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from schemas.ports import Clock, EventLog
from streams.audit.acts import Actor
from streams.clock import SystemClock
from streams.dead_letters.acts import BATCH, discarded
from streams.dead_letters.choosing import Filter, being_corrected, must_choose, those
from streams.dead_letters.letters import Letter
from streams.dead_letters.standing import Letters, read_letters
from streams.existing import Existing
from streams.progress import on_stderr, progress
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, live_history_for, log_for

Say = Callable[[str], None]


async def run_discard(
    settings: Settings, ids: Sequence[str], wanted: Filter, of: Actor | None, *, all_open: bool, say: Say
) -> bool:
    """Whether all that was chosen is discarded. Nobody acts (None): then it only says how many, and makes no topic. Raises
    SettingsInvalid, BrokerUnavailable."""
    must_choose(ids, wanted, all_open=all_open)
    async with live_history_for(settings) as live:
        letters = await read_letters(Existing(live), senders=wanted.sender is not None)
    found, left = discardable(letters, ids, wanted, all_open=all_open)
    for one in left:
        say(
            f"{one.place} is left out: its corrected copy was begun, and it is not known whether it was sent: "
            "resend it with --correct FILE again, or discard it by its ID"
        )
    if of is None:
        say(f"{len(found)} would be discarded. Nothing was done.")
        return not left
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        with progress("discarded", len(found), on_stderr) as tell:
            await discard(log, found, of, SystemClock(), tell)
    say(f"{len(found)} discarded.")
    return not left


def discardable(letters: Letters, ids: Sequence[str], wanted: Filter, *, all_open: bool) -> tuple[list[Letter], list[Letter]]:
    """And what is left out, unless it is named: a correction that may not have been sent would be lost. Raises SettingsInvalid."""
    found = [one for one in those(letters, ids, wanted, all_open=all_open) if letters.state(one) != "discarded"]
    left = [] if ids else being_corrected(letters, found)
    kept = {one.id for one in left}
    return [one for one in found if one.id not in kept], left


async def discard(log: EventLog, found: Sequence[Letter], of: Actor, clock: Clock, tell: Callable[[int], None]) -> None:
    """Raises BrokerUnavailable: what was told is discarded, and the same again discards the rest."""
    for at in range(0, len(found), BATCH):
        await log.append([discarded(one, of, clock) for one in found[at : at + BATCH]])
        tell(min(at + BATCH, len(found)))
