"""A topic as heard by somebody who only looks on (demo, tests): a broker that is slow to answer ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from schemas.errors import BrokerUnavailable
from schemas.ports import EventLog, Place, Record

_log = structlog.get_logger(__name__)


async def unbroken(log: EventLog, topic: str, *, pause_s: float = 0.2) -> AsyncIterator[Record]:
    """All records of the topic and those to come, each once: after a break it is read again from its beginning, and what was heard
    is left out. Ends only with whoever iterates."""
    heard: set[Place] = set()
    while True:
        try:
            async for record in log.read(topic, follow=True):
                if record.place not in heard:
                    heard.add(record.place)
                    yield record
        except BrokerUnavailable as error:
            _log.warning("a topic is read again", error=str(error))
        await asyncio.sleep(pause_s)  # a broker that comes back gives no event
