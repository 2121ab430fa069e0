"""What runs a step over its topics; rule 7 says which of the two runs what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from streams.guard import Guard

#: A group member that is silent so long is dead, and its partitions go to another; a pause is not silence.
SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 2.0
#: Rule 6 lets a step pause as long as its dependency is down: not polling for long is no sign of death.
LONGEST_PAUSE_S = 7 * 24 * 3600.0


class Runner(Protocol):
    """Reads topics as one consumer group and commits an offset only when the guard has finished everything up to it."""

    @property
    def group(self) -> str:
        """The consumer group: `radstream.<step>`."""
        ...

    async def run(self, topics: Sequence[str], guard: Guard, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises StepStopped, with nothing committed past the record it is about; BrokerUnavailable
        when Kafka cannot be reached to begin with."""
        ...


def group_of(step: str) -> str:
    """The consumer group of a step."""
    return f"radstream.{step}"
