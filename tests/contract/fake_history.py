"""A History over a FakeEventLog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from schemas.errors import BrokerUnavailable, RecordsRemoved, TopicMissing
from schemas.history import Span
from schemas.ports import Record
from tests.contract.fake_event_log import FakeEventLog


class FakeHistory:
    """`remove_before` is what retention does."""

    def __init__(self, log: FakeEventLog) -> None:
        self._log = log
        self._begins: dict[tuple[str, int], int] = {}

    def remove_before(self, topic: str, partition: int, offset: int) -> None:
        self._begins[topic, partition] = offset

    async def spans(self, topic: str) -> Sequence[Span]:
        return [
            Span(topic, number, self._begins.get((topic, number), 0), len(partition))
            for number, partition in enumerate(self._partitions(topic))
        ]

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        partitions, found = self._partitions(topic), []
        for span in await self.spans(topic):
            kept = partitions[span.partition][span.first :]
            first = next((record.place.offset for record in kept if record.timestamp >= moment), span.end)
            found.append(Span(topic, span.partition, first, span.end))
        return found

    async def records(self, span: Span) -> AsyncIterator[Record]:
        held = next((one for one in await self.spans(span.topic) if one.partition == span.partition), None)
        if held is None:
            raise TopicMissing("records", str(span), "the topic has no such partition")
        if len(span) and (span.first < held.first or span.end > held.end):
            raise RecordsRemoved("records", str(span), f"the log holds {held}")
        for record in self._partitions(span.topic)[span.partition][span.first : span.end]:
            yield record

    def _partitions(self, topic: str) -> list[list[Record]]:
        if self._log.away:
            raise BrokerUnavailable("history", topic, "the broker is away")
        if topic not in self._log.topics:
            raise TopicMissing("history", topic, "there is no such topic")
        return self._log.topics[topic]
