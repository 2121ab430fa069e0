"""Acts of people: each is written on `radstream.audit` before it is done, for what acts was audited."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from datetime import datetime

from pydantic import ValidationError

from schemas.acts import Act, Looked
from schemas.errors import SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import EventLog, Place
from streams import topics
from streams.emission import emit


def login_name() -> str:
    """Who is at the terminal, when nobody says: as the operating system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"uid {os.getuid()}"


def looked(what: str, *, by: str, reason: str, at: datetime, places: Sequence[Place] = (), subject: str | None = None) -> Looked:
    """Of patient data that is about to be shown; see Looked. Raises SettingsInvalid (who or why is missing or too long)."""
    try:
        return Looked(
            id=identity("looked", what, by.strip(), subject or "", at.isoformat(), *map(str, places)),
            time=at,
            by=by.strip(),
            reason=reason.strip(),
            what=what,
            places=tuple(map(str, places)),
            subject=subject,
        )
    except ValidationError:
        raise SettingsInvalid(what, "the audit", "--by has 1 to 200 characters, --reason 1 to 1000") from None


async def audited(log: EventLog, about: str, act: Act) -> Place:
    """Where the act now stands; `about` is its key. Whatever it is about is done after this returned, or not at all. Raises
    BrokerUnavailable."""
    (place,) = await log.append([emit(topics.AUDIT, about, act, None)])
    return place
