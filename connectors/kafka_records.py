"""What consumers of Kafka give, as our records and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, IllegalOperation, KafkaError, UnsupportedCodecError

from schemas.errors import InvalidResource
from schemas.moments import moment_of
from schemas.ports import Place, Record

#: what a fetch raises when the broker is away, or refuses; when the consumer was stopped; when there is no memory: no record does
_OF_NO_RECORD = (KafkaError, OSError, ConsumerStoppedError, IllegalOperation, MemoryError)
#: of those kinds, and yet of a batch that cannot be unpacked or parsed
_OF_A_BATCH = (CorruptRecordException, UnsupportedCodecError, BadGzipFile)


def record_of(message: Any) -> Record:
    """An aiokafka ConsumerRecord as a Record; a tombstone has an empty value."""
    return Record(
        place=Place(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value or b"",
        headers=tuple((name, value or b"") for name, value in message.headers or ()),
        timestamp=moment_of(message.timestamp),
    )


@contextmanager
def readable(step: str, place: str) -> Iterator[None]:
    """Around what fetches. Raises InvalidResource for records that no fetch will ever give: waiting does not help. aiokafka (0.14)
    lets out whatever its parser and the codecs raise (zlib.error, struct.error, cramjam.DecompressionError, ValueError for the name
    of a header that is not UTF-8 ...), so it is all that is not of the broker,
    the consumer or the machine."""
    try:
        yield
    except Exception as error:
        if isinstance(error, _OF_NO_RECORD) and not isinstance(error, _OF_A_BATCH):
            raise
        what = f"{type(error).__module__}.{type(error).__qualname__}"
        raise InvalidResource(step, place, f"here stands what is no Kafka record, or is packed with one ({what})") from None


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop it, whatever the broker does. aiokafka (0.14, Fetcher.close) lets the cancellation of its own fetch task out when
    the broker has just gone away, and then stays connected."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        await consumer._client.close()
