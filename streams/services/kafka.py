"""Apache Kafka 4, KRaft, one node that is broker and controller."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from streams.services.build import DEPLOY, ensure_built
from streams.services.ports import LOOPBACK, ServicePorts
from streams.services.probes import group_coordinator_answers
from streams.services.service import Service, ServiceError, java
from streams.topics import RECORD_LIMIT

_MEBIBYTE = 1024 * 1024


def properties(ports: ServicePorts, data: Path) -> str:
    """`server.properties`, Kafka 4.1 broker configuration."""
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{ports.kafka_controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},CONTROLLER://{LOOPBACK}:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{ports.kafka},CONTROLLER://{LOOPBACK}:{ports.kafka_controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        # a misspelt topic name is an error, not a new topic
        "auto.create.topics.enable": "false",
        "message.max.bytes": RECORD_LIMIT,
        "replica.fetch.max.bytes": RECORD_LIMIT,
        "log.cleaner.dedupe.buffer.size": 32 * _MEBIBYTE,  # its 128 MiB are a quarter of our heap
        "group.initial.rebalance.delay.ms": 0,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


class Kafka(Service):
    name = "kafka"

    def __init__(self, root: Path, ports: ServicePorts) -> None:
        super().__init__(root, {"kafka": ports.kafka, "kafka_controller": ports.kafka_controller})
        self._all_ports = ports
        self._properties = self.folder / "server.properties"

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.ports['kafka']}"

    def build(self, tell: Callable[[str], None]) -> None:
        ensure_built("kafka", tell)

    def prepare(self) -> None:
        self._properties.write_text(properties(self._all_ports, self.data))
        if (self.data / "bootstrap.checkpoint").exists() and (self.data / "meta.properties").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # a format that was cut short
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # one argument: an identity may begin with a hyphen, which Kafka would take for an option
        options = ["format", "--standalone", f"--cluster-id={cluster}", "--config", str(self._properties)]
        formatted = subprocess.run([*self._java("kafka.tools.StorageTool"), *options], capture_output=True, text=True, check=False)
        if formatted.returncode != 0:
            raise ServiceError(f"Kafka could not format {self.data}:\n{formatted.stdout}{formatted.stderr}")

    def command(self) -> list[str]:
        return [*self._java("kafka.Kafka"), str(self._properties)]

    def is_ready(self) -> bool:
        """It takes consumer groups."""
        return group_coordinator_answers(self.address)

    def _java(self, main_class: str) -> list[str]:
        libraries = f"{DEPLOY / 'kafka' / 'target' / 'lib'}/*"
        logging = f"-Dlog4j2.configurationFile={DEPLOY / 'kafka' / 'log4j2.xml'}"
        return java(self.folder, "-Xmx512m", logging, "-cp", libraries, main_class)
