"""The log that a follower of promotions reads, and waiting for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streams import topics
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.packages import said

NEW = "nodules/2"


@pytest.fixture
def log() -> FakeEventLog:
    log = FakeEventLog(topics.AUDIT.name)
    log.create(topics.MODELS.name, partitions=1)
    return log


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def told(log: FakeEventLog) -> list[tuple[str, bool]]:
    return said(log.records(topics.MODELS.name))
