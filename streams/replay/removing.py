"""What a replay has written, deleted: the topics of its sandbox and what its folder holds. The act is on the audit before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connectors.kafka_admin import delete_topics
from schemas.acts import ReplayRemoved
from schemas.errors import SettingsInvalid
from schemas.identifiers import identity
from streams.audit.acts import audited
from streams.clock import SystemClock
from streams.replay.manifest import ReplayFolder
from streams.replay.outbox import sandbox_of
from streams.replay.replaying import Who
from streams.settings import Settings
from streams.wiring.clients import log_for


async def remove(settings: Settings, folder: ReplayFolder, who: Who) -> Sequence[str]:
    """The topics that were deleted. One that is interrupted is done again. The name stays used: the audit, and the cause of what
    was published, go on naming this one. Raises SettingsInvalid (no such replay, one that runs, who or why is missing),
    BrokerUnavailable."""
    who.check(folder.name)
    if not folder.exists:
        raise SettingsInvalid("replay remove", folder.name, "there is no replay of this name: see radstream replay list")
    with folder.held():
        at = SystemClock().now()
        id = identity("replay-removed", folder.name, at.isoformat())
        act = ReplayRemoved(id=id, time=at, by=who.by.strip(), reason=who.reason.strip(), replay=folder.name)
        async with log_for(settings) as log:
            await audited(log, f"replay.{folder.name}", act)
        names = [topic.name for topic in sandbox_of(folder.name).topics]
        deleted = await asyncio.to_thread(delete_topics, settings.kafka.bootstrap, names)
        await asyncio.to_thread(folder.empty)
    return deleted
