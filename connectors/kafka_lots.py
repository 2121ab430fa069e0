"""What is appended, as one batch for each partition."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder

from schemas.ports import Outgoing


@dataclass(slots=True)
class Lot:
    """A batch for one partition; `records` are their places in the list that is appended."""

    topic: str
    partition: int
    builder: BatchBuilder
    records: list[int] = field(default_factory=list)

    def add(self, at: int, record: Outgoing, timestamp_ms: int) -> bool:
        """False when the batch is full; an empty one takes a record of any size."""
        if self.builder.append(timestamp=timestamp_ms, key=record.key, value=record.value, headers=list(record.headers)) is None:
            return False
        self.records.append(at)
        return True


async def lots_of(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> list[Lot]:
    """What goes to one partition goes as one batch, with one answer: a future for each record costs more than all the rest."""
    lots: list[Lot] = []
    open_lots: dict[tuple[str, int], Lot] = {}
    partitions: dict[str, list[int]] = {}
    now = int(time.time() * 1000)
    for at, record in enumerate(records):
        if record.topic not in partitions:
            partitions[record.topic] = sorted(await producer.partitions_for(record.topic))
        to = record.topic, _partition(record.key, partitions[record.topic])
        lot = open_lots.get(to)
        if lot is None or not lot.add(at, record, now):
            lot = open_lots[to] = Lot(*to, producer.create_batch())
            lot.add(at, record, now)
            lots.append(lot)
    for lot in lots:
        lot.builder.close()
    return lots


@lru_cache(maxsize=10_000)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def _partition(key: bytes | None, partitions: Sequence[int]) -> int:
    """As every Kafka client places keys; a record without a key goes anywhere."""
    return random.choice(partitions) if key is None else partitions[_hash(key) % len(partitions)]
