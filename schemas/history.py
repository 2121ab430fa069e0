"""The log as history: what was appended is read again by its places, as often as wanted. Nothing is committed, nothing is written.
A contract suite in tests/contract runs on every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.ports import Record


@dataclass(frozen=True, slots=True)
class Span:
    """Records of one partition: from offset `first` up to `end`, and not with it. Where a topic was compacted some are missing.
    Raises ValueError when `end` lies before `first`."""

    topic: str
    partition: int
    first: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.end:
            raise ValueError(f"{self} is no span")

    def __len__(self) -> int:
        return self.end - self.first

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.first}-{self.end}"


class History(Protocol):
    """The topics as they stand, with what an archive keeps of them where there is one."""

    async def spans(self, topic: str) -> Sequence[Span]:
        """What there is now, a span for each partition, by number; empty ones too. Raises TopicMissing; BrokerUnavailable and
        as `records`."""
        ...

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        """Likewise, each from its first record whose timestamp is not before `moment`: later ones may have earlier times, for
        clocks differ. Raises as `spans`."""
        ...

    def records(self, span: Span) -> AsyncIterator[Record]:
        """In order. Raises BrokerUnavailable; RecordsRemoved when some of them are gone (retention), before the first is given;
        ObjectStoreUnavailable, InvalidResource (an archived segment that is not what it was; what is no Kafka record)."""
        ...
