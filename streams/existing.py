"""The topics as they stand, for somebody who only looks: one that nobody has made yet holds nothing, and is not made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from schemas.errors import TopicMissing
from schemas.history import History, Span
from schemas.ports import Record
from streams.across import gaps_of


class Readable(Protocol):
    """An EventLog, or an Existing, for who reads alone."""

    def read(self, topic: str) -> AsyncIterator[Record]:
        """See `EventLog.read`: what is there now."""
        ...


class Existing:
    """A History."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def spans(self, topic: str) -> Sequence[Span]:
        """See `History.spans`; never raises TopicMissing."""
        try:
            return await self._history.spans(topic)
        except TopicMissing:
            return []

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        """See `History.since`; never raises TopicMissing."""
        try:
            return await self._history.since(topic, moment)
        except TopicMissing:
            return []

    def records(self, span: Span) -> AsyncIterator[Record]:
        """See `History.records`."""
        return self._history.records(span)

    async def holes(self, span: Span) -> Sequence[Span]:
        """See `streams.across.gaps_of`."""
        return await gaps_of(self._history, span)

    async def read(self, topic: str) -> AsyncIterator[Record]:
        """All that is on the topic now, partition by partition in order. Raises as `records`."""
        for span in await self.spans(topic):
            async for record in self.records(span):
                yield record
