"""Kafka as the event log: appending with a promise, and plain reading.

Appending is not idempotent in Kafka's sense, on purpose: an idempotent aiokafka producer never expires a send, so with the
broker away its caller would wait for ever. Ours expire, and who repeats is the caller (at-least-once, rule 1).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from connectors.kafka_lots import lots_of
from connectors.kafka_records import readable, record_of, stop_consumer
from schemas.errors import BrokerUnavailable, Rejected
from schemas.ports import Outgoing, Place, Record

#: They print addresses and group members at INFO, records in some errors; and ten lines a second while a broker is away,
#: which we tell in our own words.
for _name in ("aiokafka", "kafka"):
    logging.getLogger(_name).setLevel(logging.WARNING)
for _name in ("aiokafka.client", "aiokafka.cluster", "aiokafka.conn", "aiokafka.consumer.fetcher", "aiokafka.producer.sender"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

#: The broker's word on this record, not on the broker: sending it again cannot help.
_UNACCEPTABLE = (MessageSizeTooLargeError, RecordListTooLargeError)
#: Wrong, but not for want of a connection: a new one would not help either.
_CONNECTED = (UnknownTopicOrPartitionError, TopicAuthorizationFailedError)
_RETRY_S = 0.2
_IDLE_PROBE_S = 2.0
_READ_TIMEOUT_MS = 5_000


class KafkaLog:
    """The EventLog of one Kafka cluster.

    `append_timeout_s`: an append is confirmed or refused within about this time. `record_limit`: largest record in bytes,
    key, value and headers together."""

    def __init__(self, bootstrap: str, *, append_timeout_s: float = 5.0, record_limit: int = 21 * 1024 * 1024) -> None:
        self._bootstrap = bootstrap
        self._append_timeout_s = append_timeout_s
        self._record_limit = record_limit
        self._producer: AIOKafkaProducer | None = None
        #: who may wait for a place in a partition: of many aiokafka (0.14, MessageAccumulator.add_batch) lets most time out
        self._turns: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._recovery: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        self._producer = await self._connect()

    async def stop(self) -> None:
        """Send what is pending (or let it expire) and disconnect."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
            self._recovery = None
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        """See EventLog. Raises BrokerUnavailable; Rejected when a record can never be accepted (too large): then nothing
        or only other records of the list were written."""
        for record in records:
            self._refuse_oversized(record)
        if self._recovery is not None and self._recovery.done():  # a bug: told once, and recovery begins anew
            ended, self._recovery = self._recovery, None
            ended.result()
        producer = self._producer
        if producer is None or self._recovery is not None:
            raise BrokerUnavailable("append", _topics(records), "the broker is away")
        sent: list[asyncio.Future[Any]] = []
        places: dict[int, Place] = {}
        try:
            async with asyncio.timeout(self._append_timeout_s):
                lots = await lots_of(producer, records)
                for lot in lots:
                    async with self._turns[lot.topic, lot.partition]:
                        sent.append(await producer.send_batch(lot.builder, lot.topic, partition=lot.partition))
                if len(sent) == 1:
                    await sent[0]  # no detour for what happens most
                elif sent:
                    await asyncio.wait(sent)
            for lot, future in zip(lots, sent, strict=True):
                first = future.result().offset
                places |= {at: Place(lot.topic, lot.partition, first + i) for i, at in enumerate(lot.records)}
        except _UNACCEPTABLE as error:
            raise Rejected("append", _topics(records), f"the broker refuses the record: {type(error).__name__}") from None
        except _CONNECTED as error:
            raise BrokerUnavailable("append", _topics(records), type(error).__name__) from None
        except (KafkaError, TimeoutError) as error:
            self._recover(producer)
            raise BrokerUnavailable("append", _topics(records), f"not confirmed: {type(error).__name__}") from None
        finally:
            for future in sent:  # a caller that was cancelled, or the first of several failures: none may warn later
                future.add_done_callback(_seen)
        return [places[at] for at in range(len(records))]

    async def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        """See EventLog. Partition by partition in order; no group, nothing is committed. Raises BrokerUnavailable, also
        for a topic that does not exist; InvalidResource for a record that cannot be read."""
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=self._record_limit,
            request_timeout_ms=_READ_TIMEOUT_MS,
        )
        try:
            async with aclosing(_records(consumer, topic, follow=follow, last=last)) as records:
                async for record in records:
                    yield record
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable("read", topic, type(error).__name__) from None
        finally:
            await stop_consumer(consumer)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=False,
            # also the life of a batch: a try that begins before it ends may last as long again
            request_timeout_ms=int(self._append_timeout_s * 1000 / 2),
            max_request_size=self._record_limit,
            max_batch_size=256 * 1024,
        )
        try:
            await producer.start()
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise BrokerUnavailable("connect", self._bootstrap, type(error).__name__) from None
        return producer

    def _recover(self, producer: AIOKafkaProducer) -> None:
        """From now on appends fail at once, until a new producer has connected."""
        if self._recovery is None and producer is self._producer:
            self._recovery = asyncio.create_task(self._replace(producer))

    async def _replace(self, producer: AIOKafkaProducer) -> None:
        await producer.stop()  # writes or gives up what waits: nothing of it may come behind what is appended next
        while True:
            try:
                self._producer = await self._connect()
            except BrokerUnavailable:
                await asyncio.sleep(_RETRY_S)
            else:
                self._recovery = None
                return

    def _refuse_oversized(self, record: Outgoing) -> None:
        if len(record.value) < self._record_limit // 2 and len(record.headers) < 32:
            return  # nearly all of them; the broker has the last word
        size = len(record.key or b"") + len(record.value) + sum(len(name) + len(value) for name, value in record.headers)
        if size > self._record_limit:
            raise Rejected("append", record.topic, f"a record of {size} bytes exceeds the limit of {self._record_limit}")


async def _records(consumer: AIOKafkaConsumer, topic: str, *, follow: bool, last: int | None) -> AsyncGenerator[Record]:
    await consumer.start()
    partitions = sorted(consumer.assignment())
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    for partition in partitions:
        begin, end = begins[partition], ends[partition]
        consumer.seek(partition, begin if last is None else max(begin, end - last))
    # by position, not by what was seen: compaction and transaction markers leave holes
    remaining = {partition for partition in partitions if await consumer.position(partition) < ends[partition]}
    while follow or remaining:
        with readable("read", topic):
            batches = await consumer.getmany(timeout_ms=int(_IDLE_PROBE_S * 1000))
        if not batches:
            await consumer.end_offsets(partitions)  # getmany is silent when the broker is away; this is not
        for partition, messages in batches.items():
            for message in messages:
                if follow or message.offset < ends[partition]:
                    yield record_of(message)
        remaining = {partition for partition in remaining if await consumer.position(partition) < ends[partition]}


def _topics(records: Sequence[Outgoing]) -> str:
    return ",".join(sorted({record.topic for record in records}))


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
