"""One loss suite for both runners, on a real Kafka, with workers that are killed, broken, paused and cut off."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.case_store import SqlCaseStore
from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, end_offsets, ensure_topics, group_lag, group_offsets
from schemas.ports import Outgoing, Record
from streams.dead_letter import original_of
from streams.guard import UNEXPECTED_IN_A_ROW
from streams.runner import group_of
from streams.services import LocalServices, ServicePorts, running_services
from streams.topics import DEAD_LETTERS, LARGEST_RECORD, RECORD_LIMIT
from tests.service.away import away

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
#: as many as the issue asks for
RECORDS, KILLS = 20_000, 3


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: it is stopped and started here."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        ensure_topics(services.kafka_bootstrap, [TopicSpec(DEAD_LETTERS.name, 4, DEAD_LETTERS.config)])
        yield services


class Bench:
    """One step with topics and a group of its own, and the worker processes that run it."""

    def __init__(self, runner: str, kafka: LocalServices, log: KafkaLog, folder: Path) -> None:
        mark = uuid4().hex
        self.runner, self.kafka, self.log, self.folder = runner, kafka, log, folder
        self.step, self.urgent, self.input, self.output = (f"{name}-{mark}" for name in ("copy", "urgent", "input", "output"))
        self.group = group_of(self.step)
        self.bootstrap = kafka.kafka_bootstrap
        self.down = folder / "down"
        self.database = f"sqlite:///{folder}/cases.sqlite"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.sent: list[Outgoing] = []
        config = {"max.message.bytes": str(LARGEST_RECORD)}
        topics = [TopicSpec(self.urgent, 1), TopicSpec(self.input, 4, config), TopicSpec(self.output, 4, config)]
        ensure_topics(self.bootstrap, topics)

    async def send(self, values: Sequence[bytes], key: Callable[[int], bytes] = lambda number: b"key %d" % (number % 100)) -> None:
        records = [Outgoing(self.input, key(n), value, (("number", b"%d" % n),)) for n, value in enumerate(values)]
        self.sent += records
        for start in range(0, len(records), 2000):
            await self.log.append(records[start : start + 2000])

    def start(self, *options: str, instance: str = "one", topics: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(Path(__file__).with_name("loss_worker.py"))]
        command += ["--runner", self.runner, "--bootstrap", self.bootstrap, "--step", self.step, "--database", self.database]
        command += ["--instance", f"{self.step}-{instance}", "--output", self.output, "--down", str(self.down), *options]
        with (self.folder / "workers.log").open("ab") as output:
            worker = subprocess.Popen(
                [*command, "--input", *(topics or [self.input])],
                env={"PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
        self.workers.append(worker)
        return worker

    async def until(self, what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what}\n{(self.folder / 'workers.log').read_text()[-4000:]}")
            await asyncio.sleep(0.1)

    def written(self) -> int:
        return sum(end_offsets(self.bootstrap, self.output).values())

    def lag(self) -> int:
        return sum(group_lag(self.bootstrap, self.group, [self.input]).values())

    async def finished(self, seconds: float = 120) -> None:
        await self.until("all committed", lambda: self.lag() == 0, seconds)

    async def stopped(self, worker: subprocess.Popen[bytes], code: int = 0) -> None:
        """TERM is obeyed, in time."""
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == code

    async def outputs(self) -> list[Record]:
        return [record async for record in self.log.read(self.output)]

    async def letters(self) -> list[Record]:
        return [one async for one in self.log.read(DEAD_LETTERS.name) if one.header("step") == self.step]

    async def killed_and_finished(self, linger_s: float = 0.0) -> int:
        """Kills the worker KILLS times on its way, lets the last one finish, and asserts that nothing was lost."""
        for kill in range(1, KILLS + 1):
            worker = self.start()
            enough = kill * len(self.sent) // (KILLS + 2)
            await self.until(f"kill {kill}", lambda enough=enough: self.written() > enough)  # type: ignore[misc]
            await asyncio.sleep(linger_s)
            assert worker.poll() is None
            worker.kill()
            worker.wait()
        assert self.lag() > 0, "killed in the middle of its work, not after it"
        worker = self.start()
        await self.finished()
        await self.stopped(worker)
        return await self.assert_nothing_lost()

    async def assert_nothing_lost(self) -> int:
        """Every record sent is there with its content, in the order of its key; returns how many there are too many."""
        found = await self.outputs()
        content = {(one.topic, one.key, one.value, one.headers) for one in self.sent}
        assert {(self.input, one.key, one.value, one.headers) for one in found} == content
        firsts: dict[bytes | None, list[bytes]] = {}
        for record in found:
            own = firsts.setdefault(record.key, [])
            if record.value not in own[-1:] and record.value not in set(own):
                own.append(record.value)
        for key, values in firsts.items():
            assert values == [one.value for one in self.sent if one.key == key]
        return len(found) - len(content)


@pytest.fixture(params=["faust", "window"])
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bench(runner: str, kafka: LocalServices, tmp_path: Path) -> AsyncIterator[Bench]:
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        bench = Bench(runner, kafka, log, tmp_path)
        yield bench
        for worker in bench.workers:
            worker.kill()
            worker.wait()


async def test_nothing_is_lost_when_the_worker_is_killed(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    await bench.send([b"record %d" % number for number in range(RECORDS)])
    repeated = await bench.killed_and_finished()
    record_property("repeated", repeated)
    print(f"{bench.runner}: 0 of {RECORDS} lost in {KILLS} kills, {repeated} repeated")


async def test_no_record_is_lost_in_the_middle_of_its_work(bench: Bench) -> None:
    """Slow ones among fast ones: whenever the worker is killed, some are unfinished for longer than commits take."""
    await bench.send([b"%s %d" % (b"slow" if number % 25 == 12 else b"fast", number) for number in range(200)])
    await bench.killed_and_finished(linger_s=0.6)  # longer than commits take to come


async def test_bad_records_do_not_block_the_line(bench: Bench) -> None:
    kinds = [b"reject", b"good", b"later", b"good", b"poison", b"good"]
    values = [b"%s %d \xff\x00" % (kinds[number % len(kinds)], number) for number in range(120)]
    await bench.send(values)
    worker = bench.start("--broken")
    await bench.finished()
    await bench.stopped(worker)
    bad = (b"reject", b"poison")
    assert sorted(one.value for one in await bench.outputs()) == sorted(value for value in values if value.startswith(b"good"))
    letters = await bench.letters()
    originals = {(one.key, one.value, one.headers) for one in bench.sent if one.value.startswith(bad)}
    assert {(one.key, one.value, one.headers) for one in map(original_of, letters)} == originals
    assert len(letters) == len(originals)
    assert Counter(letter.header("error") for letter in letters) == {"MalformedMessage": 20, "ValueError": 20}
    cases = SqlCaseStore(bench.database)
    due = await cases.due_before(datetime.now(UTC) + timedelta(days=1))
    await cases.close()
    assert sorted(one.record.value for one in due if one.record) == sorted(value for value in values if value.startswith(b"later"))


async def test_five_unexpected_in_a_row_end_the_process_and_the_fifth_is_not_committed(bench: Bench) -> None:
    good = [b"good %d" % number for number in range(10)]
    poison = [b"poison %d" % number for number in range(UNEXPECTED_IN_A_ROW)]
    await bench.send([*good, *poison, b"good at last"], key=lambda _: b"one key, one partition")
    worker = bench.start("--broken")
    assert await asyncio.to_thread(worker.wait, 60) == 1
    (committed,) = group_offsets(bench.bootstrap, bench.group).values() or (0,)
    assert committed <= len(good) + UNEXPECTED_IN_A_ROW - 1
    assert [letter.value for letter in await bench.letters()] == poison[:-1]
    assert {one.value for one in await bench.outputs()} == set(good)
    worker = bench.start()
    await bench.finished()
    await bench.stopped(worker)
    values = [one.value for one in await bench.outputs()]
    assert values[-2:] == [poison[-1], b"good at last"]
    assert set(values) >= set(good)


async def test_a_dependency_that_is_down_loses_nothing_and_keeps_the_order(bench: Bench) -> None:
    await bench.send([b"record %d" % number for number in range(300)])
    bench.down.touch()
    worker = bench.start()
    log = bench.folder / "workers.log"
    await bench.until("paused", lambda: "paused" in log.read_text())
    await bench.stopped(worker)  # a pause is no reason not to stop
    assert bench.lag() == len(bench.sent)
    pauses = log.read_text().count("paused")
    worker = bench.start()
    await bench.until("paused again", lambda: log.read_text().count("paused") > pauses)
    assert bench.written() == 0
    bench.down.unlink()
    await bench.finished()
    await bench.stopped(worker)
    assert await bench.assert_nothing_lost() == 0
    assert await bench.letters() == []


async def test_nothing_is_lost_when_the_broker_is_killed(bench: Bench) -> None:
    await bench.send([b"record %d" % number for number in range(3_000)])
    worker = bench.start("--work-s", "0.001")
    await bench.until("some written", lambda: bench.written() > 500)
    async with away(bench.kafka, "kafka"):
        await asyncio.sleep(1)

    def finished() -> bool:
        nonlocal worker
        if worker.poll() is not None:  # as the supervisor does
            worker = bench.start()
        return bench.lag() == 0

    await bench.until("all committed", finished, 90)
    await bench.stopped(worker)
    await bench.assert_nothing_lost()


async def test_nothing_is_lost_when_partitions_change_hands(bench: Bench) -> None:
    await bench.send([b"record %d" % number for number in range(3_000)])
    first = bench.start("--work-s", "0.002", instance="one")
    await bench.until("some written", lambda: bench.written() > 300)
    second = bench.start("--work-s", "0.002", instance="two")
    await bench.until("more written", lambda: bench.written() > 1_200)
    first.kill()
    await bench.finished()
    await bench.stopped(second)
    await bench.assert_nothing_lost()


async def test_the_largest_records_pass_and_fit_as_dead_letters(bench: Bench) -> None:
    for kind in (b"good", b"reject"):
        await bench.send([kind + bytes(RECORD_LIMIT - 1024)])
    worker = bench.start()
    await bench.finished()
    await bench.stopped(worker)
    assert [one.value for one in await bench.outputs()] == [bench.sent[0].value]
    assert [original_of(one).value for one in await bench.letters()] == [bench.sent[1].value]


@pytest.mark.parametrize("runner", ["window"], indirect=True)
async def test_an_urgent_record_overtakes(bench: Bench) -> None:
    await bench.send([b"record %d" % number for number in range(400)], key=lambda number: b"%d" % number)
    worker = bench.start("--work-s", "0.1", topics=[bench.urgent, bench.input])
    await bench.until("some written", lambda: bench.written() > 20)
    before = bench.written()
    await bench.log.append([Outgoing(bench.urgent, b"now", b"urgent")])
    async with asyncio.timeout(20):
        async for record in bench.log.read(bench.output, follow=True):
            if record.value == b"urgent":
                break
    assert bench.written() - before < 60, "it waited for a slot of its own, not for the line"
    await bench.stopped(worker)
