"""Acts of people: each is written on `radstream.audit` before it is done, for what acts was audited."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.acts import Act, Looked
from schemas.errors import SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import EventLog, Place
from streams import topics
from streams.emission import emit


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and why: as of `actor`."""

    by: str
    reason: str


def actor(command: str, by: str | None, reason: str | None) -> Actor:
    """`by`: None is who is logged in. Raises SettingsInvalid, before anything is read, shown or done."""
    who = (login_name() if by is None else by).strip()
    if not 1 <= len(who) <= 200:
        raise SettingsInvalid(command, "--by", "says who does it, in 1 to 200 characters")
    why = (reason or "").strip()
    if not 1 <= len(why) <= 1000:
        raise SettingsInvalid(command, "--reason", "says why, in 1 to 1000 characters: it is kept for ever")
    return Actor(who, why)


def login_name() -> str:
    """Who is at the terminal, when nobody says: as the operating system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"uid {os.getuid()}"


def looked(what: str, who: Actor, *, at: datetime, places: Sequence[Place] = (), subject: str | None = None) -> Looked:
    """Of patient data that is about to be shown; see Looked."""
    return Looked(
        id=identity("looked", what, who.by, subject or "", at.isoformat(), *map(str, places)),
        time=at,
        by=who.by,
        reason=who.reason,
        what=what,
        places=tuple(map(str, places)),
        subject=subject,
    )


async def audited(log: EventLog, about: str, act: Act) -> Place:
    """Where the act now stands; `about` is its key. Whatever it is about is done after this returned, or not at all. Raises
    BrokerUnavailable."""
    (place,) = await log.append([emit(topics.AUDIT, about, act, None)])
    return place
