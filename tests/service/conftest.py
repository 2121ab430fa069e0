"""What the tests of the listener's process share: a broker of their own, which they kill, and the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.kafka_admin import TopicSpec, ensure_topics
from streams.services import LocalServices, ServicePorts, running_services
from streams.topics import DEAD_LETTERS, HL7_RAW
from tests.service.listener_process import ListenerProcess


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A Kafka that no other test uses; whoever stops it starts it again."""
    folder = tmp_path_factory.mktemp("broker")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        topics = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in (HL7_RAW, DEAD_LETTERS)]
        ensure_topics(services.kafka_bootstrap, topics)
        yield services


@pytest.fixture
def listening(broker: LocalServices, tmp_path: Path) -> Iterator[ListenerProcess]:
    """The process `radstream listen`, ready."""
    listener = ListenerProcess(broker.kafka_bootstrap, tmp_path)
    listener.start()
    yield listener
    listener.end()
