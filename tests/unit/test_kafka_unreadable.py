"""What no Kafka client of ours can read: a broker takes it all the same, and gives it to everybody for ever."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition, codec
from aiokafka.errors import ConsumerStoppedError, IllegalOperation, KafkaConnectionError, OffsetOutOfRangeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import kafka, kafka_history
from connectors.kafka_records import readable
from schemas.errors import InvalidResource
from schemas.history import Span

TOPIC = "hl7.v2.raw"
PARTITION = TopicPartition(TOPIC, 2)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(name: str) -> bytearray:
    """Of one record."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[name],
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    builder.append(0, timestamp=1000, key=b"k", value=bytes(1000), headers=[("Abc", b"x")])
    return bytearray(builder.build())


def sealed(raw: bytearray) -> bytes:
    """With the length and the CRC-32C of what it is now."""
    raw[8:12] = struct.pack(">i", len(raw) - 12)
    raw[17:21] = struct.pack(">I", calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def named_in_latin_1() -> bytes:
    raw = batch("none")
    raw[raw.find(b"Abc")] = 0xE4
    return sealed(raw)


def garbage(name: str) -> bytes:
    raw = batch(name)
    return sealed(raw[:61] + bytes(byte ^ 0x5A for byte in raw[61:]))


def broken_deflate() -> bytes:
    """Behind a good gzip header."""
    raw = batch("gzip")
    return sealed(raw[:71] + b"\x07" * (len(raw) - 71))


def cut_xerial() -> bytes:
    """Snappy as Java's xerial frames it, without the length of its first block."""
    head = struct.pack("!bccccccBii", *codec._XERIAL_V1_HEADER)[:16]
    return sealed(batch("snappy")[:61] + head + b"\x00\x00")


_NO_RECORDS = {
    "a header in Latin-1": named_in_latin_1(),
    "broken deflate": broken_deflate(),
    "cut xerial": cut_xerial(),
    **{one: garbage(one) for one in CODECS},
}


class Consumer:
    """An AIOKafkaConsumer of one partition with this batch, which aiokafka parses."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    async def start(self) -> None: ...

    async def topics(self) -> set[str]:
        return {TOPIC}

    def partitions_for_topic(self, _: str) -> set[int]:
        return {PARTITION.partition}

    def assign(self, _: object) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    async def beginning_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {PARTITION: 0}

    async def end_offsets(self, _: object) -> dict[TopicPartition, int]:
        return {PARTITION: 1}

    def seek(self, _: TopicPartition, at: int) -> None:
        self._at = at

    async def position(self, _: TopicPartition) -> int:
        return self._at

    async def getmany(self, *_: object, timeout_ms: int, max_records: int | None = None) -> dict[TopicPartition, list[Any]]:
        found = MemoryRecords(self._raw).next_batch()
        assert found is not None and found.validate_crc()
        list(found)
        pytest.fail("it could be read")


@pytest.mark.parametrize("raw", _NO_RECORDS.values(), ids=_NO_RECORDS)
def test_what_is_no_record_is_named_by_its_place(raw: bytes) -> None:
    async def tried() -> None:
        with pytest.raises(InvalidResource, match="hl7.v2.raw/2/0: here stands"):
            await anext(kafka_history._records(Consumer(raw), Span(TOPIC, 2, 0, 1)))
        with pytest.raises(InvalidResource, match="hl7.v2.raw: here stands"):
            await anext(kafka._records(Consumer(raw), TOPIC, follow=False, last=None))

    asyncio.run(tried())


@settings(max_examples=200)
@given(st.sampled_from(list(CODECS)), st.data())
def test_whatever_stands_in_a_batch_is_records_or_is_named(name: str, data: st.DataObject) -> None:
    raw = batch(name)
    at = data.draw(st.integers(61, len(raw)))
    cut = data.draw(st.integers(at, len(raw)))
    raw[at:] = data.draw(st.binary(max_size=40)) + raw[cut:]
    with contextlib.suppress(InvalidResource), readable("read", TOPIC):
        list(MemoryRecords(sealed(raw)).next_batch() or ())


_OF_NO_RECORD = (
    KafkaConnectionError(),
    TimeoutError(),
    ConnectionResetError(),
    OffsetOutOfRangeError(),
    ConsumerStoppedError(),
    IllegalOperation(),
    MemoryError(),
)


@pytest.mark.parametrize("error", _OF_NO_RECORD, ids=lambda error: type(error).__name__)
def test_what_the_broker_or_the_machine_says_is_no_fault_of_the_record(error: Exception) -> None:
    with pytest.raises(type(error)), readable("read", TOPIC):
        raise error


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_of_any_codec_is_read(name: str) -> None:
    found = MemoryRecords(sealed(batch(name))).next_batch()
    assert found is not None and [record.value for record in found] == [bytes(1000)]
