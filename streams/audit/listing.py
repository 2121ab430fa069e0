"""`radstream audit list`: who did what, and what the engine did, oldest first."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.errors import SettingsInvalid
from schemas.history import History, Span
from schemas.renderings.audited import Audited
from streams.audit.keyed import hash_key, hashed_accession_number
from streams.audit.tracing import Cause, causes_of
from streams.audit.viewing import ENGINE, PEOPLE, entries, said_of, spans_of
from streams.existing import Existing
from streams.printable import printable, printable_json
from streams.settings import Settings
from streams.topics import Topic
from streams.wiring.clients import open_history


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of whom and of what; None: of any. `last`: so many, the newest."""

    topics: tuple[Topic, ...] = PEOPLE + ENGINE
    since: datetime | None = None
    until: datetime | None = None
    by: str | None = None
    study: str | None = None
    #: keyed hash of the accession number
    subject: str | None = None
    place: str | None = None
    last: int | None = 50

    def matches(self, one: Audited) -> bool:
        return (
            (self.by is None or (one.by or "").casefold() == self.by.casefold())
            and (self.study is None or one.study == self.study)
            and (self.subject is None or one.subject == self.subject)
            and (self.place is None or self.place in (one.place, one.cause, *one.places))
        )


def subject_of(settings: Settings, accession_number: str) -> str:
    """As looks name it. Raises SettingsInvalid: without the key that they were written with nobody is found, and that must not look
    like an answer."""
    file = settings.audit.hash_key_file
    if not file.exists():
        advice = f"{file} is not there: who asked for a number can be told only with the key of the machine where it was asked"
        raise SettingsInvalid("audit list", "RADSTREAM_AUDIT__HASH_KEY_FILE", advice)
    return hashed_accession_number(hash_key(file), accession_number)


async def found(history: History, wanted: Wanted, tell: Callable[[Span], None] = lambda gap: None) -> list[Audited]:
    """Oldest first; `tell` hears of what neither log nor archive has. Raises BrokerUnavailable, and as `History.records`."""
    newest: list[Audited] = []
    for span in await spans_of(history, wanted.topics, wanted.since):
        kept: deque[Audited] = deque(maxlen=wanted.last)
        async for one in entries(history, [span], tell, since=wanted.since, until=wanted.until):
            if wanted.matches(one):
                kept.append(one)
        newest += kept
    newest.sort(key=lambda one: (one.at, one.place))
    return newest if wanted.last is None else newest[-wanted.last :]


async def run_list(settings: Settings, wanted: Wanted, *, causes: bool, as_json: bool) -> None:
    """Makes no topic: one that is missing holds nothing. Raises BrokerUnavailable, RecordsRemoved, and as an archive of the log
    does."""
    gaps: list[Span] = []
    async with open_history(settings) as standing:
        history = Existing(standing)
        seen = await found(history, wanted, gaps.append)
        chains = await causes_of(history, seen) if causes else {}
    for gap in gaps:
        sys.stderr.write(f"{said_of(gap)}\n")
    sys.stdout.write(as_json_text(seen, chains) if as_json else as_lines(seen, chains))


def plain(one: Audited, chain: list[Cause] | None = None) -> dict[str, Any]:
    """For `--json`."""
    told: dict[str, Any] = {
        "at": one.at.isoformat(),
        "by": one.by or "radstream",
        "person": one.by is not None,
        "deed": one.deed.value,
        "what": one.words,
        "outcome": one.outcome,
        "reason": one.reason,
        "place": one.place,
        "id": one.id,
        "type": one.type,
        "study": one.study,
        "destination": one.destination,
        "names": list(one.names),
        "places": list(one.places),
        "subject": one.subject,
        "cause": one.cause,
    }
    if chain is not None:
        told["causes"] = [{"place": cause.place, "type": cause.type, "at": cause.at.isoformat()} for cause in chain]
    return told


def as_json_text(seen: list[Audited], chains: dict[str, list[Cause]]) -> str:
    return printable_json([plain(one, chains.get(one.place)) for one in seen], indent=2) + "\n"


def as_lines(seen: list[Audited], chains: dict[str, list[Cause]]) -> str:
    """A line each; under it what led to it, the nearest first."""
    lines: list[str] = []
    for one in seen:
        outcome = "" if one.outcome == "done" else f" [{one.outcome}]"
        about = f"  study {one.study}" if one.study else ""
        why = f"  ({one.reason})" if one.reason else ""
        when = one.at.astimezone().isoformat(sep=" ", timespec="seconds")
        lines.append(f"{when}  {one.by or 'radstream':16}  {one.place:28}  {one.words}{outcome}{about}{why}")
        for cause in chains.get(one.place, ()):
            written = cause.at.astimezone().isoformat(sep=" ", timespec="seconds")
            lines.append(f"{'':27}because of {cause.place:26}  {printable(cause.type)}  {written}")
    return "\n".join(lines or ["nothing was found: --since looks further back"]) + "\n"
