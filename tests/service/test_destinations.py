"""Destinations of one process on a real Kafka: one that hangs and one that is broken delay no other."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Acknowledgement, Outgoing
from streams.health import Health, read_health
from streams.services import LocalServices
from streams.settings import DatabaseSettings, KafkaSettings, Settings
from streams.topics import Topic
from streams.wiring.destinations import Destination, told_destination
from streams.wiring.edges import deliver_to
from tests.contract.example_findings import findings, subject
from tests.contract.fake_reporting_system import FakeReportingSystem
from tests.service.positions import begun

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]

STUDIES = 20


class Watched(FakeReportingSystem):
    """`hangs`: it takes and never answers; `broken`: an exception that nobody expects."""

    def __init__(self, *, hangs: bool = False, broken: bool = False) -> None:
        super().__init__()
        self.well = asyncio.Event()
        self.broken = broken
        if not hangs:
            self.well.set()
        self._news = asyncio.Condition()

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        await self.well.wait()
        if self.broken:
            raise RuntimeError("MRN-4711")
        answer = await super().tell(findings, held)
        async with self._news:
            self._news.notify_all()
        return answer

    async def heard(self, *numbers: int) -> None:
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: {study(number) for number in numbers} <= self.studies)

    @property
    def studies(self) -> set[StudyInstanceUID]:
        return {one.subject.study_instance_uid for one in self.told}


def study(number: int) -> StudyInstanceUID:
    return StudyInstanceUID(f"1.2.3.{number}")


def record(topic: str, number: int) -> Outgoing:
    value = findings(subject(4, study=study(number))).model_dump_json().encode("utf-8")
    return Outgoing(topic, study(number).encode("ascii"), value)


async def test_one_that_hangs_and_one_that_is_broken_delay_no_other(broker: LocalServices, tmp_path: Path) -> None:
    mark = uuid4().hex[:8]
    topic = Topic(f"destinations-{mark}")
    ensure_topics(broker.kafka_bootstrap, [TopicSpec(topic.name, topic.partitions, topic.config)])
    settings = Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        database=DatabaseSettings(url=f"sqlite:///{tmp_path}/cases.db"),
    )
    systems = {f"hung-{mark}": Watched(hangs=True), f"broken-{mark}": Watched(broken=True), f"fast-{mark}": Watched()}
    hung, broken, fast = systems.values()

    def made(system: Watched) -> Watched:
        return system

    named = [
        Destination(name, topic, partial(told_destination, name, partial(made, system)), "") for name, system in systems.items()
    ]
    stop = asyncio.Event()
    running = asyncio.create_task(deliver_to(named, settings, stop, Health(settings.run_folder, "deliver")))
    async with KafkaLog(broker.kafka_bootstrap) as log:
        for name in systems:
            await begun(broker.kafka_bootstrap, f"deliver.{name}", topic.partitions)
        await log.append([record(topic.name, number) for number in range(1, STUDIES + 1)])
        await fast.heard(*range(1, STUDIES + 1))
        assert hung.told == broken.told == []
        async with asyncio.timeout(60):
            while f"broken-{mark}: " not in (health := read_health(settings.run_folder)["deliver"]).reason:
                await asyncio.sleep(0.05)  # health is a file: there is no event to await
        assert health.state == "paused"
        assert "MRN" not in health.reason
        broken.broken = False
        hung.well.set()
        await hung.heard(*range(1, STUDIES + 1))
        await log.append([record(topic.name, STUDIES + 1)])
        for system in systems.values():
            await system.heard(STUDIES + 1)
    # what was one of five in a row is a dead letter; the fifth was not committed, and is told after the restart
    letters = STUDIES + 1 - len(broken.studies)
    assert letters >= 4
    stop.set()
    async with asyncio.timeout(60):
        await running
    assert all(system.closed for system in systems.values())
