"""The topics in memory, for a command that is killed between two appends; or of which the broker never takes some record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from schemas.errors import BrokerUnavailable, Rejected
from schemas.ports import Outgoing, Place
from streams import topics
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.dead_letter_topics import new_log


class DyingLog(FakeEventLog):
    """`dies`: after so many appends (None: never); `refuses`: what it never takes."""

    def __init__(self) -> None:
        super().__init__(record_limit=topics.LARGEST_RECORD)
        self.topics = new_log().topics
        self.dies: int | None = None
        self.refuses: Callable[[Outgoing], bool] = lambda _: False

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        if self.dies is not None:
            if self.dies == 0:
                raise BrokerUnavailable("append", "x", "gone")
            self.dies -= 1
        if any(map(self.refuses, records)):
            raise Rejected("append", "x", "too large")
        return await super().append(records)
