"""What people do about dead letters, as events for the audit: each is written before it is done."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Literal

from schemas.acts import DeadLetterDiscarded, DeadLetterResent
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Outgoing
from streams import topics
from streams.audit.acts import Actor
from streams.dead_letters.letters import Letter
from streams.emission import emit

Outcome = Literal["begun", "done", "failed"]

#: acts in one append: it has five seconds, however many they are
BATCH = 200


def resent(letter: Letter, of: Actor, outcome: Outcome, clock: Clock, corrected_sha256: str | None = None) -> Outgoing:
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


def discarded(letter: Letter, of: Actor, clock: Clock) -> Outgoing:
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


async def told(log: EventLog, acts: Iterable[Outgoing]) -> None:
    """To the audit. Raises BrokerUnavailable: some of them may be told."""
    those = iter(acts)
    while lot := list(islice(those, BATCH)):
        await log.append(lot)
