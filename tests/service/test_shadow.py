"""A candidate beside the model in use, on a real Kafka: what each said, exactly; nothing outside the sandbox; nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import end_offsets
from schemas.findings import Findings
from schemas.model_events import ModelShadowed
from streams import topics
from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import Settings, as_environment
from streams.shadows.agreement import Table
from streams.shadows.compare import compared
from streams.shadows.compared import FindingsCompared
from streams.shadows.shadow import step_name
from streams.supervisor import Supervisor
from streams.wiring.clients import ensure_all_topics
from tests.service.shadow_bench import ROOT, Bench
from tests.service.shadow_process import BREAKS

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

#: and one that the candidate refuses, and one on which it breaks
BOTH_SEE = 50


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: a shadow sees every request that anybody makes."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


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
