"""`radstream replay publish` on a real log: reads both sides, publishes, and says what became of each study."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

from schemas.errors import SettingsInvalid
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelRecalled
from schemas.ports import EventLog
from streams.audit.acts import Actor
from streams.audit.looks import about_to_see
from streams.clock import SystemClock
from streams.printable import printable_json
from streams.promotion.promoting import read_acts
from streams.replay.changes import Tolerance
from streams.replay.diffing import read_diff
from streams.replay.manifest import ReplayFolder
from streams.replay.publishing import Approval, Publication, audited_acts, claimed, publications, publish
from streams.settings import Settings
from streams.wiring.clients import ensure_all_topics, log_for

Say = Callable[[str], None]


async def run_publish(
    settings: Settings,
    name: str,
    studies: frozenset[str] | None,
    approval: Approval,
    tolerance: Tolerance,
    *,
    say: Say,
    as_json: bool,
) -> bool:
    """Whether nothing was refused. It is on the audit who sees what was refused or needs nothing. Raises SettingsInvalid (no such
    replay, one that is not done, no such study, who or why too long or empty), BrokerUnavailable, RecordsRemoved."""
    _check(approval, studies)
    manifest = ReplayFolder(settings, name).read()
    if manifest.state != "done":
        raise SettingsInvalid("replay publish", name, f"is {manifest.state}, not done: radstream replay resume {name}")
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        claims = claimed(await audited_acts(log))  # before the states are read: who claims one after this is heard by `publish`
        compared = await read_diff(settings, name, None, tolerance)
        several = publications(name, compared, studies, await _recalled(log), tolerance, claims)
        if named := [one.key for one in several if one.said is None]:  # of the others it is told what is published
            who = Actor(approval.by.strip(), approval.reason.strip())
            await about_to_see(log, compared.places_of(named), "replay publish", who, SystemClock())
        several = await publish(log, name, several, approval, SystemClock())
    tell(several, say, as_json=as_json)
    return not any(one.refused for one in several)


def tell(several: Sequence[Publication], say: Say, *, as_json: bool) -> None:
    """Numbers of studies are patient data, and are what was asked for."""
    if as_json:
        sys.stdout.write(printable_json([_plain(one) for one in several], indent=2) + "\n")
    else:
        for one in several:
            say(f"{one.key[0]}  {one.key[1]}  {_words(one)}")
    published, refused = sum(one.said is not None for one in several), sum(bool(one.refused) for one in several)
    say(f"{published} published, {refused} refused, {len(several) - published - refused} to which nothing was to be done.")
    if published:
        say("Receivers are told by `deliver`: radstream tail radstream.deliveries.")


def _words(one: Publication) -> str:
    return f"refused: {one.refused}" if one.refused else one.nothing or f"published as state {one.sequence}"


def _plain(one: Publication) -> dict[str, object]:
    return {
        "study_instance_uid": one.key[0],
        "service": one.key[1],
        "published": one.said is not None,
        "sequence": one.sequence or None,
        "refused": one.refused or None,
        "nothing": one.nothing or None,
    }


def _check(approval: Approval, studies: frozenset[str] | None) -> None:
    """Before anything is read. Raises SettingsInvalid."""
    if not (0 < len(approval.by.strip()) <= 200 and 0 < len(approval.reason.strip()) <= 1000):
        raise SettingsInvalid("replay publish", "who and why", "--approved-by has 1 to 200 characters, --reason 1 to 1000")
    for study in studies or ():
        try:
            StudyInstanceUID(study)
        except ValueError:
            raise SettingsInvalid("replay publish", "--study", "is no Study Instance UID") from None


async def _recalled(log: EventLog) -> dict[str, ModelRecalled]:
    return (await read_acts(log)).recalled
