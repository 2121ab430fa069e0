"""What people do about dead letters, as events for the audit: each is written before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from schemas.acts import DeadLetterDiscarded, DeadLetterResent, Looked
from schemas.errors import SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Outgoing
from streams import topics
from streams.audit.acts import login_name
from streams.dead_letters.letters import Letter
from streams.emission import emit

Outcome = Literal["begun", "done", "failed"]

#: acts in one append: it has five seconds, however many they are
BATCH = 200


@dataclass(frozen=True, slots=True)
class Decision:
    """Who acts, and why."""

    by: str
    reason: str


def decision(by: str | None, reason: str | None) -> Decision:
    """`by`: None is who is logged in. Raises SettingsInvalid, before anything is read or done."""
    who = (login_name() if by is None else by).strip()
    if not 1 <= len(who) <= 200:
        raise SettingsInvalid("dead-letters", "--by", "says who does it, in 1 to 200 characters")
    why = (reason or "").strip()
    if not 1 <= len(why) <= 1000:
        raise SettingsInvalid("dead-letters", "--reason", "says why, in 1 to 1000 characters: it is kept for ever")
    return Decision(who, why)


def resent(letter: Letter, of: Decision, outcome: Outcome, clock: Clock, corrected_sha256: str | None = None) -> Outgoing:
    """Told twice: "begun" before it is sent, and "done" when it is on its topic. So a crash between them is not taken for done."""
    at = clock.now()
    event = DeadLetterResent(
        id=identity("dead-letter-resent", str(letter.id), outcome, at.isoformat()),
        time=at,
        by=of.by,
        reason=of.reason,
        outcome=outcome,
        letter=str(letter.place),
        letter_id=letter.id,
        corrected_sha256=corrected_sha256,
    )
    return emit(topics.AUDIT, f"dead-letter.{letter.id}", event, None)


def discarded(letter: Letter, of: Decision, clock: Clock) -> Outgoing:
    at = clock.now()
    event = DeadLetterDiscarded(
        id=identity("dead-letter-discarded", str(letter.id), at.isoformat()),
        time=at,
        by=of.by,
        reason=of.reason,
        letter=str(letter.place),
        letter_id=letter.id,
    )
    return emit(topics.AUDIT, f"dead-letter.{letter.id}", event, None)


def looked(letter: Letter, of: Decision, clock: Clock) -> Outgoing:
    """Its values were shown."""
    at = clock.now()
    event = Looked(
        id=identity("looked", str(letter.place), of.by, at.isoformat()),
        time=at,
        by=of.by,
        reason=of.reason,
        what="dead-letters show",
        places=(str(letter.place),),
    )
    return emit(topics.AUDIT, f"dead-letter.{letter.id}", event, None)


async def told(log: EventLog, acts: Iterable[Outgoing]) -> None:
    """To the audit. Raises BrokerUnavailable: some of them may be told."""
    those = iter(acts)
    while lot := list(islice(those, BATCH)):
        await log.append(lot)
