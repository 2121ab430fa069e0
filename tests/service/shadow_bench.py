"""Films, requests about them, the model in use and the shadows beside it, on a real Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import end_offsets, group_offsets, list_topics
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Subject
from schemas.identifiers import StudyInstanceUID, identity
from schemas.model_events import ModelShadowed
from schemas.ports import Record
from schemas.study_events import AnalysisRequested, revision_of
from streams import topics
from streams.clock import SystemClock
from streams.emission import emit
from streams.guard import Guard
from streams.promotion.acts import told
from streams.runner import group_of
from streams.runner_window import WindowRunner
from streams.settings import Settings, as_environment
from streams.shadows.sandbox import Sandbox
from streams.shadows.shadow import NothingDue, shadowed, step_name
from streams.steps.analyse import analyse
from streams.turns import Turns
from tests.contract.example_images import part10, radiograph
from tests.contract.test_image_decoders import InProcessDecoder
from tests.service.shadow_process import CANDIDATE, IN_USE, ByNumber, archive_of
from tests.unit.analyses import KeptInMemory, using

ROOT = Path(__file__).parents[2]


class Bench:
    """Films, requests about them, the model in use, and the process of the shadows."""

    def __init__(self, settings: Settings, log: KafkaLog, folder: Path) -> None:
        self.settings, self.log, self.folder = settings, log, folder
        self.films = folder / "films"
        self.sandbox, self.beside, self.third = (Sandbox(f"s-{uuid4().hex[:8]}") for _ in range(3))
        self.worker: subprocess.Popen[bytes] | None = None
        self._root = f"1.2.{int(uuid4()) % 10**12 + 1}"
        self.films.mkdir()

    async def requests(self, count: int) -> list[AnalysisRequested]:
        """Of studies whose images end in their number; every seventh is STAT, every eleventh of the bulk lane."""
        for number in range(count):
            image = radiograph(StudyInstanceUID=f"{self._root}.{number}", SOPInstanceUID=f"{self._root}.9.{number}")
            (self.films / str(number)).write_bytes(part10(image))
        archive, made = await archive_of(self.films), []
        for number in range(count):
            study = StudyInstanceUID(f"{self._root}.{number}")
            images = (await archive.describe(study)).images
            at = datetime.now(UTC)
            subject = Subject(study_instance_uid=study, revision=revision_of(images), sequence=1, triggered_at=at)
            made.append(AnalysisRequested(id=identity("analysis", study), time=at, subject=subject, images=images))
        return made

    async def ask(self, requests: Sequence[AnalysisRequested]) -> None:
        topic = {0: topics.REQUESTS_STAT, 1: topics.REQUESTS_BULK}
        await self.log.append(
            [
                emit(topic.get(number % 7, topics.REQUESTS), one.subject.study_instance_uid, one, None)
                for number, one in enumerate(requests)
            ]
        )

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """The real step, as its role has it."""
        stop, name = asyncio.Event(), f"analyse-{self.sandbox.name}"
        step = partial(
            analyse,
            archive=await archive_of(self.films),
            decoder=InProcessDecoder(),
            models=using(ByNumber(IN_USE)),
            decoding=Turns(),
            predicting=Turns(),
            kept=KeptInMemory(),
        )
        guard = Guard(name, step, self.log, NothingDue(), SystemClock(), stop)
        runner = WindowRunner(self.settings.kafka.bootstrap, name, from_now=True)
        read = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)
        task = asyncio.create_task(runner.run([topic.name for topic in read], guard, stop))
        try:
            await self._placed(name)
            yield
        finally:
            stop.set()
            await task

    def start(self, delay_s: float = 0.0) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **as_environment(self.settings), "PYTHONPATH": str(ROOT)}
        with (self.folder / "shadow.log").open("ab") as output:
            self.worker = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("shadow_process.py")), str(self.films), str(delay_s)],
                env=environment,
                stdout=output,
                stderr=output,
            )
        return self.worker

    def stop(self) -> None:
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        assert self.worker.wait(60) == 0, (self.folder / "shadow.log").read_text()[-4000:]

    async def act(self, sandbox: Sandbox, *, ended: bool = False) -> ModelShadowed:
        act = shadowed(
            CANDIDATE,
            CHEST_RADIOGRAPH_FINDINGS,
            sandbox.name,
            approved_by="Dr A",
            reason="better",
            at=datetime.now(UTC),
            ended=ended,
        )
        await self.log.append(told(act, sandbox.key))
        return act

    async def begin(self, sandbox: Sandbox) -> ModelShadowed:
        """A shadow that sees all that comes from now on."""
        act = await self.act(sandbox)
        await self._placed(step_name(act))
        return act

    async def _placed(self, step: str) -> None:
        await self.until(lambda: len(group_offsets(self.settings.kafka.bootstrap, group_of(step))) == 12)

    async def until(self, condition: Callable[[], object], seconds: float = 90) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                log = self.folder / "shadow.log"
                if self.worker is not None and self.worker.poll() not in (None, -signal.SIGKILL):
                    pytest.fail(f"the process has ended:\n{log.read_text()[-4000:]}")
                await asyncio.sleep(0.1)  # the broker is asked, and another process: there is no event to await

    async def records(self, topic: topics.Topic) -> list[Record]:
        return [record async for record in self.log.read(topic.name)]

    async def answered(self, topic: topics.Topic, requests: Sequence[AnalysisRequested], seconds: float = 120) -> None:
        """There is a result of each on the topic."""
        missing = {one.subject.study_instance_uid for one in requests}
        async with asyncio.timeout(seconds):
            async for record in self.log.read(topic.name, follow=True):
                missing.discard(StudyInstanceUID((record.key or b"").decode()))
                if not missing:
                    return

    def ends(self) -> Counter[str]:
        """How many records were ever written to each topic."""
        bootstrap = self.settings.kafka.bootstrap
        return Counter({topic: sum(end_offsets(bootstrap, topic).values()) for topic in list_topics(bootstrap)})
