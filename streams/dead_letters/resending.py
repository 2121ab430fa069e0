"""`radstream dead-letters resend`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Site
from schemas.ports import EventLog
from streams.audit.acts import Actor
from streams.clock import SystemClock
from streams.dead_letters.acts import discarded, told
from streams.dead_letters.choosing import Filter, behind_a_correction, corrected_meanwhile, must_choose, those
from streams.dead_letters.correcting import corrected
from streams.dead_letters.letters import Letter
from streams.dead_letters.planning import Plan, Sending, plan_of, sendings
from streams.dead_letters.sending import Held, Pace, Resender
from streams.dead_letters.standing import Letters, read_letters, record_of
from streams.existing import Existing, Readable
from streams.progress import on_stderr, progress
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, live_history_for, log_for
from streams.wiring.destinations import destinations

Say = Callable[[str], None]


async def run_resend(
    settings: Settings,
    ids: Sequence[str],
    wanted: Filter,
    of: Actor | None,
    *,
    all_open: bool,
    rate: float,
    say: Say,
    original: bool = False,
) -> bool:
    """Whether all that was chosen is sent, or need not be. Nobody acts (None): then it only says what would be done, and makes no
    topic. Raises SettingsInvalid, BrokerUnavailable."""
    must_choose(ids, wanted, all_open=all_open)
    told = [one.name for one in destinations(settings)]
    async with live_history_for(settings) as live:
        there = Existing(live)
        letters, plan = await planned(there, ids, wanted, told, all_open=all_open, say=say, original=original)
        for line in plan.lines() or ["nothing is to be sent again"]:
            say(line)
        if of is None:
            say("Nothing was done.")
            return not plan.refused
        await asyncio.to_thread(ensure_all_topics, settings)
        async with log_for(settings) as log:
            held = None if original else partial(corrected_meanwhile, there, letters)
            return await carry_out(log, plan, of, Pace(rate), say, held)


async def planned(
    log: Readable,
    ids: Sequence[str],
    wanted: Filter,
    destinations: Collection[str],
    *,
    all_open: bool,
    say: Say,
    original: bool = False,
) -> tuple[Letters, Plan]:
    """`original`: a person says that it shall be sent behind its corrected copy. Raises SettingsInvalid, BrokerUnavailable."""
    letters = await read_letters(log, senders=wanted.sender is not None)
    chosen = _not_yet_sent(letters, those(letters, ids, wanted, all_open=all_open), say)
    held = {} if original else behind_a_correction(letters, chosen)
    return letters, await plan_of(log, chosen, destinations, held)


async def carry_out(log: EventLog, plan: Plan, of: Actor, pace: Pace, say: Say, held: Held | None = None) -> bool:
    """Whether nothing was refused, and nothing failed. Raises BrokerUnavailable."""
    clock = SystemClock()
    if plan.superseded:
        marks = (
            discarded(letter, Actor(of.by, f"superseded: state {taken} was delivered"), clock) for letter, taken in plan.superseded
        )
        await told(log, marks)
    return await _send(log, sendings(log, plan), plan.letters, of, pace, say, held) and not plan.refused


async def run_correct(settings: Settings, id: str, file: Path, of: Actor | None, *, say: Say) -> bool:
    """As `run_resend`, of a copy that was corrected. Raises Rejected too: the copy would fail again."""
    value = await asyncio.to_thread(file.read_bytes)
    async with live_history_for(settings) as live:
        sending = await correction_of(Existing(live), id, value, settings.site, settings.admission, say)
    if sending is None:
        return True
    if of is None:
        say(f"The corrected copy would be sent to {sending.record.topic}. Nothing was done.")
        return True
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        return await send_one(log, sending, of, say)


async def correction_of(there: Existing, id: str, file: bytes, site: Site, admission: Admission, say: Say) -> Sending | None:
    """None: the letter was sent again already. Raises SettingsInvalid, Rejected, BrokerUnavailable."""
    letters = await read_letters(there)
    (letter,) = letters.named([id])
    if not _not_yet_sent(letters, [letter], say):
        return None
    return await corrected(await record_of(there, letter), letter, file, site, admission)


async def send_one(log: EventLog, sending: Sending, of: Actor, say: Say) -> bool:
    """As `carry_out`."""

    async def only() -> AsyncIterator[Sending]:
        yield sending

    return await _send(log, only(), 1, of, Pace(1.0), say)


async def _send(
    log: EventLog, sending: AsyncIterator[Sending], total: int, of: Actor, pace: Pace, say: Say, held: Held | None = None
) -> bool:
    resender = Resender(log, of, SystemClock(), pace, held)
    with progress("sent again", total, on_stderr) as tell:
        await resender.send(sending, tell)
    for letter, why in resender.failed:
        say(f"{letter.id} could not be sent: {why}")
    say(f"{resender.sent} sent again. What fails again is a new letter: radstream dead-letters list")
    return not resender.failed


def _not_yet_sent(letters: Letters, chosen: Sequence[Letter], say: Say) -> list[Letter]:
    sent = {one for one in chosen if letters.state(one) == "resent"}
    for one in sent:
        act = letters.sent(one)[-1]
        say(f"{one.id} was sent again already, by {act.by} at {act.time.isoformat(timespec='seconds')}: {act.reason}")
    return [one for one in chosen if one not in sent]
