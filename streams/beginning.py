"""Where a group begins that is not for what its topics held before: at now, but once only.

Kafka forgets the positions of a group that is away for a week. Taken for a new one it would lose what came meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import structlog

from connectors.kafka_admin import begin_at_the_end
from schemas.case_store import Positions

_log = structlog.get_logger(__name__)


OpenPositions = Callable[[], AbstractAsyncContextManager[Positions]]


async def begin_now(bootstrap: str, group: str, topics: Sequence[str], begun: OpenPositions | None = None) -> None:
    """To be called before the group reads. Raises BrokerUnavailable, StoreUnavailable."""
    if begun is None:
        await asyncio.to_thread(begin_at_the_end, bootstrap, group, topics)
        return
    source = f"begun {group}"
    async with begun() as positions:
        before = await positions.position(source) is not None
        if await asyncio.to_thread(begin_at_the_end, bootstrap, group, topics, begun=before):
            what = "Kafka has forgotten its positions: it begins with all that its topics hold"
            _log.error(what, group=group, topics=list(topics), alarm="positions-lost")
        if not before:  # after its positions: what is killed between the two begins at now again, and has lost nothing
            await positions.put_position(source, "")
