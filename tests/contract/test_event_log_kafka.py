"""KafkaLog on a real Kafka, and what it does when the broker goes away, hangs and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSize, TopicSpec, end_offsets, ensure_topics, group_lag, list_topics, topic_sizes
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.ports import Outgoing
from streams.services import LocalServices, ServicePorts, running_services
from tests.contract.event_log import EventLogContract, contents
from tests.service.away import away, paused

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: it is stopped and started here."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


@pytest.fixture
def topic(kafka: LocalServices) -> str:
    name = f"topic-{uuid4().hex}"
    ensure_topics(kafka.kafka_bootstrap, [TopicSpec(name, 4, {"max.message.bytes": str(1024 * 1024)})])
    return name


@pytest.fixture
async def log(kafka: LocalServices) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        yield log


class TestKafkaLog(EventLogContract):
    pass


async def test_many_appends_at_once_are_no_broker_that_is_away(log: KafkaLog, topic: str) -> None:
    """aiokafka's queue for a place in a partition counts the time waited twice and more: 16 at once failed after 0.2 s."""

    def records(writer: int) -> list[Outgoing]:
        return [Outgoing(topic, b"%d" % (writer % 7), b"%d:%d" % (writer, n) + bytes(150_000)) for n in range(20)]

    places = await asyncio.gather(*(log.append(records(writer)) for writer in range(30)))
    assert all(mine == sorted(mine, key=lambda place: place.offset) for mine in places)
    kept = {record.place: record.value async for record in log.read(topic)}
    assert len(kept) == 600
    for writer, mine in enumerate(places):
        assert [kept[place] for place in mine] == [record.value for record in records(writer)]


async def _append_when_back(log: KafkaLog, record: Outgoing) -> None:
    async with asyncio.timeout(30):
        while True:
            if log._recovery is not None:
                await asyncio.wait([log._recovery])
            with contextlib.suppress(BrokerUnavailable):
                await log.append([record])
                return


async def test_a_recovery_that_fails_by_a_bug_is_told_and_begun_anew(
    log: KafkaLog, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, bugs = log._connect, [ValueError("a bug")]

    async def connect_at_the_second_try() -> object:
        if bugs:
            raise bugs.pop()
        return await connect()

    monkeypatch.setattr(log, "_connect", connect_at_the_second_try)
    assert log._producer is not None
    log._recover(log._producer)
    assert log._recovery is not None
    await asyncio.wait([log._recovery])
    record = Outgoing(topic, b"k", b"after")
    with pytest.raises(ValueError, match="a bug"):
        await log.append([record])
    await _append_when_back(log, record)
    assert b"after" in [one.value async for one in log.read(topic)]


async def test_a_broker_that_goes_away_and_comes_back(kafka: LocalServices, log: KafkaLog, topic: str) -> None:
    await log.append([Outgoing(topic, b"k", b"before")])
    async with away(kafka, "kafka"):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await log.append([Outgoing(topic, b"k", b"lost %d" % number) for number in range(3)])
        assert time.monotonic() - began < 10
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(BrokerUnavailable):
                await log.append([Outgoing(topic, b"k", b"lost too")])
        assert time.monotonic() - began < 5, "a broker known to be away is not waited for"
        with pytest.raises(BrokerUnavailable):
            await contents(log, topic)
        with pytest.raises(BrokerUnavailable):
            await KafkaLog(kafka.kafka_bootstrap).start()
        with pytest.raises(BrokerUnavailable):
            await asyncio.to_thread(list_topics, kafka.kafka_bootstrap)
    await _append_when_back(log, Outgoing(topic, b"k", b"after"))
    assert [record.value for record in await contents(log, topic)] == [b"before", b"after"]


async def test_a_broker_that_hangs(kafka: LocalServices, log: KafkaLog, topic: str) -> None:
    await log.append([Outgoing(topic, b"k", b"before")])
    with paused(kafka, "kafka"):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await log.append([Outgoing(topic, b"k", b"perhaps")])
        assert time.monotonic() - began < 10
    await _append_when_back(log, Outgoing(topic, b"k", b"after"))
    values = [record.value for record in await contents(log, topic)]
    assert values[0] == b"before"
    assert values[-1] == b"after", "what was given up is not written after what came next"
    assert set(values) <= {b"before", b"perhaps", b"after"}


async def test_following_a_broker_that_goes_away(kafka: LocalServices, log: KafkaLog, topic: str) -> None:
    await log.append([Outgoing(topic, b"k", b"before")])
    records = log.read(topic, follow=True)
    assert (await anext(records)).value == b"before"
    async with away(kafka, "kafka"), asyncio.timeout(60):
        with pytest.raises(BrokerUnavailable):
            await anext(records)


async def test_topics_and_lag(kafka: LocalServices, log: KafkaLog, topic: str) -> None:
    bootstrap = kafka.kafka_bootstrap
    places = await log.append([Outgoing(topic, b"%d" % number, b"") for number in range(20)])

    def ask() -> None:
        assert list_topics(bootstrap)[topic] == 4
        assert ensure_topics(bootstrap, [TopicSpec(topic, 4), TopicSpec(f"{topic}-b", 2)]) == [f"{topic}-b"]
        with pytest.raises(SettingsInvalid):
            ensure_topics(bootstrap, [TopicSpec(topic, 3)])
        assert topic_sizes(bootstrap, [topic, "missing"]) == {topic: TopicSize(4, 20)}
        expected = {n: sum(place.partition == n for place in places) for n in range(4)}
        assert end_offsets(bootstrap, topic) == expected
        assert group_lag(bootstrap, "nobody", [topic]) == {(topic, n): count for n, count in expected.items()}

    await asyncio.to_thread(ask)
