"""Kafka as history: spans of a topic, and their records by place."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from connectors.kafka_records import readable, record_of, stop_consumer
from schemas.errors import BrokerUnavailable, InvalidResource, RecordsRemoved, TopicMissing
from schemas.history import Span
from schemas.moments import ceiling
from schemas.ports import Record

_IDLE_PROBE_MS = 2_000
_REQUEST_TIMEOUT_MS = 5_000
#: offsets of a short span, and the bytes that are fetched of it at a time: a broker sends a batch that is larger all the same
_SHORT, _SHORT_FETCH = 500, 256 * 1024


class KafkaHistory:
    """`History`. `record_limit`: largest record in bytes. As an async context it keeps its connections until the end of the block:
    for who asks many times for a few records."""

    def __init__(self, bootstrap: str, *, record_limit: int = 21 * 1024 * 1024) -> None:
        self._bootstrap = bootstrap
        self._record_limit = record_limit
        #: bytes that are fetched at a time, and a consumer that waits; None: none is kept
        self._idle: list[tuple[int, AIOKafkaConsumer]] | None = None

    async def __aenter__(self) -> Self:
        self._idle = []
        return self

    async def __aexit__(self, *_: object) -> None:
        idle, self._idle = self._idle or [], None
        for _fetch, consumer in idle:
            await stop_consumer(consumer)

    async def spans(self, topic: str) -> Sequence[Span]:
        """See `History.spans`."""
        async with self._consumer(topic) as consumer:
            partitions = await _partitions(consumer, topic)
            begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        return [Span(topic, one.partition, begins[one], ends[one]) for one in partitions]

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        """See `History.since`."""
        async with self._consumer(topic) as consumer:
            partitions = await _partitions(consumer, topic)
            milliseconds = max(0, ceiling(moment))
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
            ends = await consumer.end_offsets(partitions)
        firsts = {one: ends[one] if at is None else min(at.offset, ends[one]) for one, at in found.items()}
        return [Span(topic, one.partition, firsts[one], ends[one]) for one in partitions]

    async def records(self, span: Span) -> AsyncIterator[Record]:
        """See `History.records`."""
        if not len(span):
            return
        fetch = min(_SHORT_FETCH, self._record_limit) if len(span) <= _SHORT else self._record_limit
        async with self._consumer(span.topic, fetch) as consumer, aclosing(_records(consumer, span)) as records:
            async for record in records:
                yield record

    @asynccontextmanager
    async def _consumer(self, reference: str, fetch: int = _SHORT_FETCH) -> AsyncGenerator[AIOKafkaConsumer]:
        consumer, sound = None, False
        try:
            consumer = self._waiting(fetch) or await self._started(fetch)
            yield consumer
            sound = True
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable("history", reference, type(error).__name__) from None
        finally:
            if consumer is not None and sound and self._idle is not None:
                consumer.assign([])  # it fetches nothing more
                self._idle.append((fetch, consumer))
            elif consumer is not None:
                await stop_consumer(consumer)

    def _waiting(self, fetch: int) -> AIOKafkaConsumer | None:
        found = next((one for one in self._idle or () if one[0] == fetch), None)
        if found is None or self._idle is None:
            return None
        self._idle.remove(found)
        return found[1]

    async def _started(self, fetch: int) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=fetch,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
        )
        try:
            await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        return consumer


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    if topic not in await consumer.topics():  # asked anew: it may just have been made
        raise TopicMissing("history", topic, "the broker has no such topic")
    await consumer.end_offsets([TopicPartition(topic, 0)])  # a consumer that subscribes to nothing learns of a topic by this
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise TopicMissing("history", topic, "the broker has no such topic")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    return partitions


async def _records(consumer: AIOKafkaConsumer, span: Span) -> AsyncGenerator[Record]:
    """By position, not by what was seen: compaction and transaction markers leave holes."""
    partition = TopicPartition(span.topic, span.partition)
    if partition not in await _partitions(consumer, span.topic):
        raise TopicMissing("history", str(span), "the topic has no such partition")
    consumer.assign([partition])
    held = Span(
        span.topic,
        span.partition,
        (await consumer.beginning_offsets([partition]))[partition],
        (await consumer.end_offsets([partition]))[partition],
    )
    if span.first < held.first or span.end > held.end:
        raise RecordsRemoved("history", str(span), f"the log holds {held}")
    consumer.seek(partition, span.first)
    at_a_time: int | None = None
    while (at := await consumer.position(partition)) < span.end:
        try:
            with readable("history", f"{span.topic}/{span.partition}/{at}"):
                batches = await consumer.getmany(partition, timeout_ms=_IDLE_PROBE_MS, max_records=at_a_time)
        except InvalidResource:
            if at_a_time is not None:
                raise
            consumer.seek(partition, at)
            at_a_time = 1  # up to what cannot be read
            continue
        except OffsetOutOfRangeError:  # retention, while it was read
            raise RecordsRemoved("history", str(span), "retention removed records while they were read") from None
        if not batches:
            await consumer.end_offsets([partition])  # getmany is silent when the broker is away; this is not
        for message in batches.get(partition, ()):
            if message.offset < span.end:
                yield record_of(message)
