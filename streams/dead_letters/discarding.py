"""`radstream dead-letters discard`: nobody needs to look at them any more. They stay where they are; the act says who and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

from schemas.errors import SettingsInvalid
from schemas.ports import Clock, EventLog
from streams.clock import SystemClock
from streams.dead_letters.acts import BATCH, Decision, discarded
from streams.dead_letters.choosing import Filter
from streams.dead_letters.letters import Letter
from streams.dead_letters.listing import chosen
from streams.dead_letters.standing import Letters, read_letters
from streams.promotion.progress import progress
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, log_for

Say = Callable[[str], None]


def must_choose(ids: Sequence[str], wanted: Filter, *, all_open: bool) -> None:
    """Raises SettingsInvalid when nothing is said: "everything" must be, in as many words."""
    if ids and (wanted.chooses or all_open):
        raise SettingsInvalid("dead-letters", "ID", "name letters, or choose them by options: not both")
    if not (ids or wanted.chooses or all_open):
        raise SettingsInvalid("dead-letters", "ID", "name letters, choose them by options, or say --all-open")


def those(letters: Letters, ids: Sequence[str], wanted: Filter, *, all_open: bool) -> list[Letter]:
    """The letters that a person names: by ids, whatever their state; or all open ones that the filter lets through. Raises
    SettingsInvalid, as `must_choose` too."""
    must_choose(ids, wanted, all_open=all_open)
    return letters.named(ids) if ids else chosen(letters, wanted)


def on_stderr(line: str) -> None:
    """How far it is, where there is no terminal."""
    sys.stderr.write(f"{line}\n")


async def run_discard(
    settings: Settings, ids: Sequence[str], wanted: Filter, of: Decision | None, *, all_open: bool, say: Say
) -> None:
    """Without a decision it only says how many. Raises SettingsInvalid, BrokerUnavailable."""
    must_choose(ids, wanted, all_open=all_open)
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        letters = await read_letters(log, senders=wanted.sender is not None)
        found = [one for one in those(letters, ids, wanted, all_open=all_open) if letters.state(one) != "discarded"]
        if of is None:
            say(f"{len(found)} would be discarded. Nothing was done.")
            return
        with progress("discarded", len(found), on_stderr) as tell:
            await discard(log, found, of, SystemClock(), tell)
        say(f"{len(found)} discarded.")


async def discard(log: EventLog, found: Sequence[Letter], of: Decision, clock: Clock, tell: Callable[[int], None]) -> None:
    """Raises BrokerUnavailable: what was told is discarded, and the same again discards the rest."""
    for at in range(0, len(found), BATCH):
        await log.append([discarded(one, of, clock) for one in found[at : at + BATCH]])
        tell(min(at + BATCH, len(found)))
