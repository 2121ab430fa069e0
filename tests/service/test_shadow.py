"""A candidate beside the model in use, on a real Kafka: what each said, exactly; nothing outside the sandbox; nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import end_offsets, group_offsets, list_topics
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, Subject
from schemas.identifiers import StudyInstanceUID, identity
from schemas.model_events import ModelShadowed
from schemas.ports import Record
from schemas.study_events import AnalysisRequested, revision_of
from streams import topics
from streams.agreement import Table
from streams.clock import SystemClock
from streams.compare import compared
from streams.compared import FindingsCompared
from streams.emission import emit
from streams.guard import Guard
from streams.promotions import told
from streams.runner import group_of
from streams.runner_window import WindowRunner
from streams.sandbox import Sandbox
from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import Settings, as_environment
from streams.shadow import NothingDue, shadowed, step_name
from streams.steps.analyse import analyse
from streams.supervisor import Supervisor
from streams.turns import Turns
from streams.wiring.clients import ensure_all_topics
from tests.contract.example_images import part10, radiograph
from tests.contract.test_image_decoders import InProcessDecoder
from tests.service.shadow_process import BREAKS, CANDIDATE, IN_USE, ByNumber, archive_of
from tests.unit.analyses import KeptInMemory, using

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
#: and one that the candidate refuses, and one on which it breaks
BOTH_SEE = 50


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: a shadow sees every request that anybody makes."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


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


@pytest.fixture
async def bench(kafka: LocalServices, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = Settings(
        run_folder=tmp_path / "run",
        kafka={"bootstrap": kafka.kafka_bootstrap},
        database={"url": f"sqlite:///{tmp_path / 'radstream.db'}"},
    )
    await asyncio.to_thread(ensure_all_topics, settings)
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        bench = Bench(settings, log, tmp_path)
        yield bench
        if bench.worker is not None:
            bench.worker.kill()
            bench.worker.wait()


async def test_two_models_see_the_same_fifty_studies(bench: Bench) -> None:
    requests = await bench.requests(BOTH_SEE + 2)
    await bench.ask(requests[:5])  # before the shadow: none of its business
    bench.start()
    act = await bench.begin(bench.sandbox)
    before = await asyncio.to_thread(bench.ends)
    async with bench.in_use():
        await bench.ask(requests)
        await bench.answered(topics.RESULTS, requests)
        await bench.answered(bench.sandbox.results, [one for n, one in enumerate(requests) if n != BREAKS])
        await bench.until(lambda: sum(end_offsets(bench.settings.kafka.bootstrap, bench.sandbox.dead_letters.name).values()))
    await asyncio.to_thread(bench.stop)

    grown = await asyncio.to_thread(bench.ends) - before
    asked = [topic.name for topic in (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)]
    assert sum(grown.pop(topic) for topic in asked) == len(requests)
    assert grown == {topics.RESULTS.name: 52, bench.sandbox.results.name: 51, bench.sandbox.dead_letters.name: 1}
    assert not (bench.folder / "radstream.db").exists(), "no case store is so much as opened"

    results = await bench.records(bench.sandbox.results)
    by_study = {record.key: record for record in await bench.records(topics.RESULTS)}
    ids = {one.id for one in requests}
    for record in results:
        said, real = Findings.model_validate_json(record.value), by_study[record.key]
        assert said.analysis_id not in ids
        assert said.subject == Findings.model_validate_json(real.value).subject
        assert record.header("cause") == real.header("cause")
    (letter,) = await bench.records(bench.sandbox.dead_letters)
    assert (letter.header("step"), letter.header("error")) == (step_name(act), "ModelFailed")

    comparison = await compared(bench.log, bench.sandbox, None)
    (models,) = comparison.models
    assert (comparison.both, comparison.in_use_only, comparison.candidate_only) == (51, 1, 0)
    assert comparison.not_analysed == (("analysed", "wrong-view", 1),)
    assert (models.in_use, models.candidate, models.states, models.studies) == ("chest/1", "chest/2", 50, 50)
    assert models.presence is not None
    assert models.presence.table == Table(both=25, in_use_only=0, candidate_only=5, neither=20)
    assert models.presence.kappa == pytest.approx(0.8)  # observed 0.9; by chance 0.5 x 0.6 + 0.5 x 0.4
    assert models.presence.interval is not None
    assert models.presence.interval[0] < 0.8 < models.presence.interval[1] <= 1
    assert models.findings == FindingsCompared(matched=20, renamed=0, in_use_only=5, candidate_only=10, changed=10)
    assert models.shift is not None
    assert models.shift.mean == pytest.approx((45 * 0.1 + 5 * 0.4) / 50)
    assert models.shift.median == pytest.approx(0.1)
    assert models.in_use_scores == (0, 0, 25, 0, 0, 0, 0, 0, 25, 0)
    assert sum(models.candidate_scores) == 50
    assert len(comparison.changed) == 11
    for latency in (comparison.in_use_latency, comparison.candidate_latency):
        assert latency is not None
        assert latency.number == 50
        assert 0 < latency.p50 <= latency.p95 < 60


async def test_killed_again_and_again_every_request_has_its_answer_and_counts_once(bench: Bench) -> None:
    requests = await bench.requests(50)
    worker = bench.start(delay_s=0.05)
    await bench.begin(bench.sandbox)
    async with bench.in_use():
        await bench.ask(requests)
        for kill in (1, 2, 3):
            said = partial(end_offsets, bench.settings.kafka.bootstrap, bench.sandbox.results.name)
            await bench.until(lambda enough=kill * 10, said=said: sum(said().values()) >= enough)  # type: ignore[misc]
            worker.kill()
            worker.wait()
            assert sum((await asyncio.to_thread(said)).values()) < len(requests), "killed in the middle, not after it"
            worker = bench.start(delay_s=0.05)
        await bench.answered(bench.sandbox.results, requests)
        await bench.answered(topics.RESULTS, requests)
    await asyncio.to_thread(bench.stop)
    results = await bench.records(bench.sandbox.results)
    assert len({record.header("ce_id") for record in results}) == 50
    assert len({record.value for record in results}) == 50, "said twice, it is the same"
    comparison = await compared(bench.log, bench.sandbox, None)
    assert (comparison.both, comparison.in_use_only, comparison.candidate_only) == (50, 0, 0)
    (models,) = comparison.models
    assert models.presence is not None
    assert models.presence.table == Table(both=25, in_use_only=0, candidate_only=5, neither=20)


async def test_several_at_a_time_and_one_that_ended_sees_no_more(bench: Bench) -> None:
    requests = await bench.requests(9)
    first, second, third = requests[:3], requests[3:6], requests[6:]
    bench.start()
    for sandbox in (bench.sandbox, bench.beside):
        await bench.begin(sandbox)
    await bench.ask(first)
    for sandbox in (bench.sandbox, bench.beside):
        await bench.answered(sandbox.results, first)
    await bench.act(bench.sandbox, ended=True)
    await bench.begin(bench.third)  # told later: what is told before has been heard when it runs
    await bench.ask(second)
    for sandbox in (bench.beside, bench.third):
        await bench.answered(sandbox.results, second)
    assert len(await bench.records(bench.sandbox.results)) == 3
    await bench.begin(bench.sandbox)  # again: from now, and not from where it ended
    await bench.ask(third)
    for sandbox in (bench.sandbox, bench.beside, bench.third):
        await bench.answered(sandbox.results, third)
    await asyncio.to_thread(bench.stop)
    seen = {name: await bench.records(name.results) for name in (bench.sandbox, bench.beside, bench.third)}
    assert [len(records) for records in seen.values()] == [6, 9, 6]


async def test_without_a_shadow_the_role_is_light_and_lowest(bench: Bench) -> None:
    role = "work shadow"
    supervisor = Supervisor([role], bench.settings.run_folder, kill_after_s=10, environment=as_environment(bench.settings))
    async with supervisor.running():
        await supervisor.ready(60)
        pid = supervisor.processes[role].pid
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert "libtorch" not in mapped
        resident = int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
        print(f"{resident:.0f} MiB resident")
        assert resident < 120


async def test_the_commands(bench: Bench) -> None:
    """A package that comes with the source; no engine runs."""
    environment = {**os.environ, **as_environment(bench.settings), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    async def command(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams", "model", *words),
            cwd=bench.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    name = bench.sandbox.name
    act = ("--sandbox", name, "--approved-by", "Dr A", "--reason", "fewer false boxes")
    before = await asyncio.to_thread(bench.ends)
    code, said = await command("compare", "--sandbox", name)
    assert code == 2, said
    assert "there is no such sandbox" in said
    code, said = await command("shadow", "chest-nodule", "999", *act)
    assert code == 2, said
    code, said = await command("shadow", "chest-nodule", "1", *act, "--end")
    assert code == 2, said
    assert await asyncio.to_thread(bench.ends) == before, "nothing was made, and nothing told"

    code, said = await command("shadow", "chest-nodule", "1", *act)
    assert code == 0, said
    assert f"radstream model compare --sandbox {name}" in said
    code, said = await command("compare", "--sandbox", name, "--json")
    assert code == 0, said
    assert (json.loads(said)["both"], json.loads(said)["models"], json.loads(said)["changed"]) == (0, [], 0)
    code, said = await command("shadow", "chest-nodule", "1", *act, "--end")
    assert code == 0, said
    acts = [
        ModelShadowed.model_validate_json(one.value)
        for one in await bench.records(topics.MODELS)
        if one.key == bench.sandbox.key.encode()
    ]
    assert [(one.name, one.version, one.approved_by, one.ended) for one in acts] == [
        ("chest-nodule", "1", "Dr A", False),
        ("chest-nodule", "1", "Dr A", True),
    ]
    grown = await asyncio.to_thread(bench.ends) - before
    assert grown == {topics.MODELS.name: 2, topics.AUDIT.name: 2}
