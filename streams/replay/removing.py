"""What a replay has written, deleted: the topics of its sandbox and what its folder holds. The act is on the audit before, and how
it ended after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Literal

from connectors.kafka_admin import delete_topics
from schemas.acts import ReplayRemoved
from schemas.errors import RadstreamError, SettingsInvalid, Unavailable
from schemas.identifiers import identity
from schemas.ports import EventLog
from streams.audit.acts import audited
from streams.clock import SystemClock
from streams.replay.manifest import ReplayFolder
from streams.replay.outbox import sandbox_of
from streams.replay.replaying import Who
from streams.settings import Settings
from streams.wiring.clients import log_for


async def remove(settings: Settings, folder: ReplayFolder, who: Who) -> Sequence[str]:
    """The topics that were deleted: none of a replay that has not begun, for whatever bears the name of its sandbox is somebody
    else's. One that is interrupted is done again. The name stays used: the audit, and the cause of what was published, go on naming
    this one. Raises SettingsInvalid (no such replay, one that runs, who or why is missing), BrokerUnavailable."""
    who.check(folder.name)
    if not folder.exists:
        raise SettingsInvalid("replay remove", folder.name, "there is no replay of this name: see radstream replay list")
    with folder.held():
        names = [topic.name for topic in sandbox_of(folder.name).topics] if folder.has_begun else []
        async with log_for(settings) as log:
            act = partial(_act, log, folder.name, who)
            await act("begun")
            try:
                folder.begin_removal()
                deleted = await asyncio.to_thread(delete_topics, settings.kafka.bootstrap, names) if names else ()
                await asyncio.to_thread(folder.empty)
            except (RadstreamError, OSError):
                with suppress(Unavailable):  # what is told is why it failed
                    await act("failed")
                raise
            await act("done")
            folder.end_removal()  # not before: whoever is interrupted finds what is to be done again
    return deleted


async def _act(log: EventLog, name: str, who: Who, outcome: Literal["begun", "done", "failed"]) -> None:
    at = SystemClock().now()
    id = identity("replay-removed", name, outcome, at.isoformat())
    act = ReplayRemoved(id=id, time=at, by=who.by.strip(), reason=who.reason.strip(), outcome=outcome, replay=name)
    await audited(log, f"replay.{name}", act)
