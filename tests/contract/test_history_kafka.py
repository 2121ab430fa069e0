"""KafkaHistory on a real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from struct import pack
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.kafka_history import KafkaHistory
from schemas.errors import InvalidResource, RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing
from tests.contract.history import HistoryContract

pytestmark = pytest.mark.service


@pytest.fixture
def topic(kafka_bootstrap: str) -> str:
    name = f"topic-{uuid4().hex}"
    ensure_topics(kafka_bootstrap, [TopicSpec(name, 4)])
    return name


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka_bootstrap) as log:
        yield log


@pytest.fixture
def history(kafka_bootstrap: str) -> KafkaHistory:
    return KafkaHistory(kafka_bootstrap)


class TestKafkaHistoryOverOneConnection(HistoryContract):
    @pytest.fixture
    async def history(self, kafka_bootstrap: str) -> AsyncIterator[KafkaHistory]:
        async with KafkaHistory(kafka_bootstrap) as history:
            yield history


class TestKafkaHistory(HistoryContract):
    async def test_what_retention_removed(self, kafka_bootstrap: str, log: KafkaLog, history: KafkaHistory, topic: str) -> None:
        await log.append([Outgoing(topic, b"one", b"%d" % number) for number in range(10)])
        (span,) = [span for span in await history.spans(topic) if len(span)]
        admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        admin.delete_records({TopicPartition(topic, span.partition): 4})
        admin.close()
        left = Span(topic, span.partition, 4, 10)
        assert left in await history.spans(topic)
        assert [record.place.offset async for record in history.records(left)] == list(range(4, 10))
        with pytest.raises(RecordsRemoved):
            await anext(aiter(history.records(span)))

    async def test_what_others_compressed(self, kafka_bootstrap: str, log: KafkaLog, history: KafkaHistory, topic: str) -> None:
        for codec in ("gzip", "snappy", "lz4", "zstd"):
            async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, compression_type=codec) as producer:
                await producer.send_and_wait(topic, codec.encode() * 100, key=b"one")
        (span,) = [span for span in await history.spans(topic) if len(span)]
        read = [record async for record in history.records(span)]
        assert [record.value for record in read] == [codec * 100 for codec in (b"gzip", b"snappy", b"lz4", b"zstd")]
        assert [record async for record in log.read(topic)] == read

    async def test_all_before_what_cannot_be_read(self, kafka_bootstrap: str, history: KafkaHistory, topic: str) -> None:
        """A broker takes a header whose name is not UTF-8."""
        async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
            batch = producer.create_batch()
            for name in ("a", "a", "Abc", "a"):
                batch.append(key=b"one", value=b"value", timestamp=1000, headers=[(name, b"")])
            batch.close()
            raw = batch._build()
            raw[raw.find(b"Abc")] = 0xE4
            raw[17:21] = pack(">I", calc_crc32c(bytes(raw[21:])))
            await (await producer.send_batch(batch, topic, partition=1))
            await producer.send_and_wait(topic, b"behind", partition=1)
        assert (await history.spans(topic))[1] == Span(topic, 1, 0, 5)
        records = history.records(Span(topic, 1, 0, 5))
        assert [(await anext(records)).place.offset for _ in range(2)] == [0, 1]
        with pytest.raises(InvalidResource, match=f"{topic}/1/2: "):
            await anext(records)
        assert [record.value async for record in history.records(Span(topic, 1, 4, 5))] == [b"behind"]

    async def test_many_short_spans_of_large_records_over_one_connection(
        self, log: KafkaLog, history: KafkaHistory, topic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each larger than what is fetched at a time."""
        begun: list[AIOKafkaConsumer] = []
        start = AIOKafkaConsumer.start

        async def counted(consumer: AIOKafkaConsumer) -> None:
            begun.append(consumer)
            await start(consumer)

        monkeypatch.setattr(AIOKafkaConsumer, "start", counted)
        for number in range(6):
            await log.append([Outgoing(topic, b"one", b"%d" % number + bytes(700_000))])
        async with history:
            (span,) = [span for span in await history.spans(topic) if len(span)]
            for first in (4, 0, 2):
                read = [one async for one in history.records(Span(topic, span.partition, first, first + 2))]
                assert [(one.place.offset, one.value[:1]) for one in read] == [(n, b"%d" % n) for n in (first, first + 1)]
            with pytest.raises(RecordsRemoved):
                await anext(aiter(history.records(Span(topic, span.partition, 5, 9))))
            (last,) = [one async for one in history.records(Span(topic, span.partition, 5, 6))]
            assert last.place.offset == 5
        assert len(begun) == 2, "one, and one after it was refused"
        assert all(consumer._closed for consumer in begun)
