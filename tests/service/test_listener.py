"""The listener on a real Kafka: nothing is acknowledged before the broker has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.mllp.client import MllpClient
from connectors.mllp.framing import Frame, FrameDecoder, frame
from connectors.mllp.server import MllpServer
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement
from schemas.ports import Record
from streams.clock import SystemClock
from streams.health import Health
from streams.listen import Wellbeing, listener
from streams.listener_settings import ListenerSettings
from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import SiteSettings
from streams.topics import DEAD_LETTERS, HL7_RAW, RECORD_LIMIT
from tests.service.away import away

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: it is stopped and started here."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        topics = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in (HL7_RAW, DEAD_LETTERS)]
        ensure_topics(services.kafka_bootstrap, topics)
        yield services


@pytest.fixture
async def log(kafka: LocalServices) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        yield log


@pytest.fixture
async def server(log: KafkaLog, tmp_path: Path) -> AsyncIterator[MllpServer]:
    settings = ListenerSettings.model_construct(**{**ListenerSettings().model_dump(), "port": 0})
    server = listener(log, SystemClock(), settings, SiteSettings(), Wellbeing(Health(tmp_path, "listen")))
    await server.start()
    yield server
    await server.stop()


def message(control_id: str, text: str = "") -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|{control_id}|P|2.5.1\nORC|NW|{control_id}\nNTE|1||{text}\n".encode()


async def of(log: KafkaLog, topic: str, content: bytes) -> list[Record]:
    return [record async for record in log.read(topic) if content in record.value]


async def answers(reader: asyncio.StreamReader, count: int, within_s: float) -> list[Ack]:
    decoder, found = FrameDecoder(), []
    async with asyncio.timeout(within_s):
        while len(found) < count:
            data = await reader.read(65536)
            assert data, "connection closed"
            found += [read_acknowledgement(item.content) for item in decoder.feed(data) if isinstance(item, Frame)]
    return found


async def test_what_is_acknowledged_is_on_the_topic_byte_for_byte(server: MllpServer, log: KafkaLog) -> None:
    async with MllpClient("127.0.0.1", server.port) as client:
        assert (await client.send(message("BYTES"))).code == "AA"
    [record] = await of(log, HL7_RAW.name, b"BYTES")
    assert record.value == message("BYTES")
    assert record.key == b"RIS|H"


async def test_pipelined_messages_of_one_sender_keep_their_order(server: MllpServer, log: KafkaLog) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"".join(frame(message(f"PIPE{number:04d}")) for number in range(2000)))
    found = await answers(reader, 2000, 30)
    writer.close()
    assert [(ack.code, ack.message_control_id) for ack in found] == [("AA", f"PIPE{n:04d}") for n in range(2000)]
    assert [r.value for r in await of(log, HL7_RAW.name, b"PIPE")] == [message(f"PIPE{n:04d}") for n in range(2000)]


async def test_garbage_is_refused_and_kept(server: MllpServer, log: KafkaLog) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(frame(b"\x00 garbage \xff"))
    [ack] = await answers(reader, 1, 10)
    writer.close()
    assert (ack.code, ack.condition) == ("AR", "100")
    [letter] = await of(log, DEAD_LETTERS.name, b"garbage")
    assert letter.value == b"\x00 garbage \xff"
    assert (letter.header("topic"), letter.header("step")) == ("mllp", "listen")


async def test_the_largest_message_and_one_over_the_limit(server: MllpServer, log: KafkaLog) -> None:
    fits = message("FITS", "x" * (server.limits.frame - len(message("FITS"))))
    over = message("OVER", "x" * RECORD_LIMIT)
    async with MllpClient("127.0.0.1", server.port, timeout_s=30) as client:
        assert (await client.send(fits)).code == "AA"
        assert (await client.send(over)).code == "AR"
        assert (await client.send(message("NEXT"))).code == "AA"
    [record] = await of(log, HL7_RAW.name, b"|FITS|")
    assert record.value == fits
    letters = [r async for r in log.read(DEAD_LETTERS.name) if (r.header("reason") or "").endswith("over the size limit")]
    assert sum(len(letter.value) for letter in letters) == len(over)


async def test_ae_while_the_broker_is_away_and_aa_when_it_is_back(kafka: LocalServices, server: MllpServer, log: KafkaLog) -> None:
    async with MllpClient("127.0.0.1", server.port, timeout_s=15) as client:
        assert (await client.send(message("BEFORE"))).code == "AA"
        async with away(kafka, "kafka"):
            begun = time.monotonic()
            refused = await asyncio.gather(*(client.send(message(f"AWAY{number}")) for number in range(5)))
            assert {ack.code for ack in refused} == {"AE"}
            assert time.monotonic() - begun < 10
        async with asyncio.timeout(30):
            while (await client.send(message("AFTER"))).code != "AA":
                await asyncio.sleep(0.1)  # a sender's own time-out between two tries
    assert await of(log, HL7_RAW.name, b"BEFORE")
    assert await of(log, HL7_RAW.name, b"AFTER")


async def test_every_waiting_sender_has_ae_within_10_s(kafka: LocalServices, server: MllpServer) -> None:
    """The broker dies while messages come: those in flight and those that follow are all answered, none with AA."""
    peers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(8)]
    async with away(kafka, "kafka"):
        for _, writer in peers:
            writer.write(b"".join(frame(message(f"DEAD{number}")) for number in range(50)))
        found = await asyncio.gather(*(answers(reader, 50, 10) for reader, _ in peers))
        assert {ack.code for acks in found for ack in acks} == {"AE"}
    for _, writer in peers:
        writer.close()
