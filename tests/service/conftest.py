"""What the tests of the listener's process share: a broker of their own, which they kill, and the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import KafkaSettings, Settings
from streams.wiring.clients import ensure_all_topics
from tests.service.listener_process import ListenerProcess


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A Kafka that no other test uses; whoever stops it starts it again."""
    folder = tmp_path_factory.mktemp("broker")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        ensure_all_topics(Settings(kafka=KafkaSettings(bootstrap=services.kafka_bootstrap)))
        yield services


@pytest.fixture(scope="module")
def kafka_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A Kafka of one module alone: what stands on its topics is of that module's tests."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


@pytest.fixture
def archive_apart(tmp_path: Path) -> Iterator[LocalServices]:
    """An Orthanc of this test alone: what it stores is work for no engine of another one."""
    with running_services(tmp_path / "orthanc", ServicePorts.free(), only=("orthanc",), tell=lambda _: None) as services:
        yield services


@pytest.fixture
def listening(broker: LocalServices, tmp_path: Path) -> Iterator[ListenerProcess]:
    """The process `radstream listen`, ready."""
    listener = ListenerProcess(broker.kafka_bootstrap, tmp_path)
    listener.start()
    yield listener
    listener.end()
