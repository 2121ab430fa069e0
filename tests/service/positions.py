"""When a group that begins at now has begun: what is written after that is for it."""

from __future__ import annotations

import asyncio

from connectors.kafka_admin import group_offsets
from streams.runner import group_of


async def begun(bootstrap: str, step: str, partitions: int, timeout_s: float = 60) -> None:
    """The group of the step has its place on so many partitions."""
    async with asyncio.timeout(timeout_s):
        while len(await asyncio.to_thread(group_offsets, bootstrap, group_of(step))) < partitions:
            await asyncio.sleep(0.1)  # positions are the broker's: there is no event to await
