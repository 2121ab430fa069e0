"""The steps from an order and a study to a FHIR server on a real Kafka, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from connectors.case_store import SqlCaseStore
from connectors.fhir import FhirServer
from connectors.kafka import KafkaLog
from schemas.events import DeliveryAcknowledged
from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Step
from schemas.study_events import revision_of
from streams import topics
from streams.case_state import Policy
from streams.clock import SystemClock
from streams.due import Timer, run_sweeper
from streams.emission import emit
from streams.guard import Guard
from streams.promotion.models_in_use import ModelsInUse
from streams.recalls import RECALL, recall_goes_on
from streams.runner_window import WindowRunner
from streams.settings import Settings
from streams.steps.analyse import analyse
from streams.steps.correlate import TOPICS, correlate
from streams.steps.deliver import deliver
from streams.steps.report import report
from streams.telling import ORDER_AWAITED
from streams.turns import Turns
from streams.wiring.clients import case_store_for, ensure_all_topics
from tests.contract.example_findings import SITE
from tests.contract.example_images import part10, radiograph
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.cases import order, study

PATIENCE_S = 90


class Engine:
    """The steps from an order and a study to the FHIR server, in this process, and the archive they fetch from."""

    def __init__(self, settings: Settings, log: KafkaLog, cases: SqlCaseStore, server: FhirServer) -> None:
        self.settings, self.log, self.cases, self.server = settings, log, cases, server
        self.archive = FakeStudyArchive()
        self._root = f"1.2.{int(uuid4()) % 10**12 + 1}"
        self._numbers = iter(range(1, 100))

    @asynccontextmanager
    async def steps(self) -> AsyncIterator[None]:
        policy = Policy()
        running: Mapping[str, tuple[Step, tuple[topics.Topic, ...]]] = {
            "correlate": (partial(correlate, cases=self.cases, policy=policy), TOPICS),
            "report": (partial(report, site=SITE), (topics.RESULTS,)),
            "deliver": (partial(deliver, destination="fhir", store=self.server, cases=self.cases), (topics.FINDINGS,)),
        }
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._run(name, step, read, stop)) for name, (step, read) in running.items()]
        timers: dict[str, Timer] = {RECALL: partial(recall_goes_on, cases=self.cases), ORDER_AWAITED: _never}
        tenth = timedelta(seconds=0.1)
        tasks.append(asyncio.create_task(run_sweeper(self.cases, self.log, SystemClock(), timers, stop=stop, interval=tenth)))
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    @asynccontextmanager
    async def analysing(self, models: ModelsInUse) -> AsyncIterator[None]:
        stop = asyncio.Event()
        step = partial(
            analyse,
            archive=self.archive,
            decoder=InProcessDecoder(),
            models=models,
            decoding=Turns(),
            predicting=Turns(),
            kept=self.cases,
        )
        read = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)
        task = asyncio.create_task(self._run("analyse", step, read, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def _run(self, name: str, step: Step, read: tuple[topics.Topic, ...], stop: asyncio.Event) -> None:
        guard = Guard(name, step, self.log, self.cases, SystemClock(), stop)
        await WindowRunner(self.settings.kafka.bootstrap, name, size=1).run([topic.name for topic in read], guard, stop)

    async def ordered(self) -> tuple[StudyInstanceUID, str]:
        """A new study with an order, and its accession number."""
        uid, accession = f"{self._root}.{next(self._numbers)}", f"R{uuid4().hex[:12]}"
        await self.archive.store([part10(radiograph(StudyInstanceUID=uid))])
        images = (await self.archive.describe(StudyInstanceUID(uid))).images
        completed = study(uid, accession=accession).model_copy(update={"images": images, "revision": revision_of(images)})
        placed = order(placer=accession, accession=accession)
        await self.log.append([emit(topics.ORDERS, accession, placed, None), emit(topics.STUDIES, uid, completed, None)])
        return StudyInstanceUID(uid), accession

    async def result(self, uid: StudyInstanceUID, sequence: int) -> Findings:
        async with asyncio.timeout(PATIENCE_S):
            async for record in self.log.read(topics.RESULTS.name, follow=True):
                found = Findings.model_validate_json(record.value)
                if found.subject.study_instance_uid == uid and found.subject.sequence == sequence:
                    return found
        raise AssertionError("a topic that is followed has no end")

    async def delivered(self, uid: StudyInstanceUID, sequence: int, accession: str) -> dict[str, Any]:
        """The DiagnosticReport, once that state is delivered."""
        async with asyncio.timeout(PATIENCE_S):
            async for record in self.log.read(topics.DELIVERIES.name, follow=True):
                told = DeliveryAcknowledged.model_validate_json(record.value)
                if told.study_instance_uid == uid and told.sequence >= sequence:
                    break
        (found,) = await self.server.search_reports(accession)
        return found


async def _never(*_: object) -> tuple[Outgoing, ...]:
    """Every study here has its order, though perhaps some moments later."""
    return ()


@asynccontextmanager
async def running_engine(bootstrap: str, fhir_url: str, folder: Path) -> AsyncIterator[Engine]:
    settings = Settings(
        run_folder=folder / "run",
        kafka={"bootstrap": bootstrap},
        database={"url": f"sqlite:///{folder / 'radstream.db'}"},
    )
    await asyncio.to_thread(ensure_all_topics, settings)
    cases = case_store_for(settings)
    async with KafkaLog(bootstrap) as log:
        engine = Engine(settings, log, cases, FhirServer(fhir_url))
        async with engine.steps():
            yield engine
    await cases.close()
