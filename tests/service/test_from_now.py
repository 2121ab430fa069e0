"""A new group that begins at now, on a real Kafka: with nothing that the topics hold, and all that comes, also while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from kafka.admin import KafkaAdminClient
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, begin_at_the_end, ensure_topics, group_lag, group_offsets
from schemas.case_store import Due
from schemas.errors import BrokerUnavailable
from schemas.ports import Outgoing, Record
from streams.clock import SystemClock
from streams.guard import Guard
from streams.runner import group_of
from streams.runner_window import WindowRunner
from tests.service.positions import begun

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


class NoDue:
    async def put_due(self, due: Due, /) -> None:
        raise AssertionError("nothing is parked here")


@asynccontextmanager
async def cases_in(database: Path) -> AsyncIterator[SqlCaseStore]:
    cases = SqlCaseStore(f"sqlite:///{database}")
    try:
        yield cases
    finally:
        await cases.close()


class Bench:
    """A step that keeps what it has seen, and a topic that held ten records before it was thought of."""

    def __init__(self, bootstrap: str, log: KafkaLog) -> None:
        mark = uuid4().hex
        self.bootstrap, self.log = bootstrap, log
        self.topic, self.empty, self.step = f"from-now-{mark}", f"from-now-empty-{mark}", f"from-now-{mark}"
        self.seen: list[bytes] = []
        self.news = asyncio.Condition()
        ensure_topics(bootstrap, [TopicSpec(self.topic, 4), TopicSpec(self.empty, 4)])

    async def send(self, *values: bytes) -> None:
        await self.log.append([Outgoing(self.topic, value, value) for value in values])

    async def _see(self, record: Record) -> Sequence[Outgoing]:
        async with self.news:
            self.seen.append(record.value)
            self.news.notify_all()
        return []

    async def until(self, *values: bytes) -> None:
        async with asyncio.timeout(30), self.news:
            await self.news.wait_for(lambda: set(values) <= set(self.seen))

    @asynccontextmanager
    async def running(self, *, from_now: bool, database: Path | None = None) -> AsyncIterator[None]:
        """`database`: where it is remembered that it has begun."""
        stop = asyncio.Event()
        guard = Guard(self.step, self._see, self.log, NoDue(), SystemClock(), stop)
        memory = None if database is None else partial(cases_in, database)
        runner = WindowRunner(self.bootstrap, self.step, from_now=from_now, begun=memory)
        task = asyncio.create_task(runner.run([self.topic, self.empty], guard, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    def forget(self) -> None:
        """As a broker does a week after the last member left (offsets.retention.minutes)."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            admin.delete_groups([group_of(self.step)])
        finally:
            admin.close()

    async def begun(self) -> None:
        """It has its place on every partition."""
        await begun(self.bootstrap, self.step, 8)


@pytest.fixture
async def bench(kafka_bootstrap: str) -> AsyncIterator[Bench]:
    async with KafkaLog(kafka_bootstrap) as log:
        bench = Bench(kafka_bootstrap, log)
        await bench.send(*(b"old %d" % number for number in range(10)))
        yield bench


async def test_what_was_there_is_not_read_and_what_comes_is_also_while_it_is_away(bench: Bench) -> None:
    news = [b"new %d" % number for number in range(20)]
    async with bench.running(from_now=True):
        await bench.begun()
        await bench.send(*news[:10])
        await bench.until(*news[:10])
    await bench.send(*news[10:])
    async with bench.running(from_now=True):
        await bench.until(*news[10:])
    assert sorted(bench.seen) == sorted(news)


async def test_a_group_that_was_away_before_it_had_read_anything_misses_nothing(bench: Bench) -> None:
    async with bench.running(from_now=True):
        await bench.begun()
    await bench.send(b"while away")
    async with bench.running(from_now=True):
        await bench.until(b"while away")
    assert bench.seen == [b"while away"]


async def test_without_it_a_new_group_reads_what_was_there(bench: Bench) -> None:
    old = [b"old %d" % number for number in range(10)]
    async with bench.running(from_now=False):
        await bench.until(*old)
    assert sorted(bench.seen) == old


async def test_a_group_that_kafka_has_forgotten_reads_all_that_is_kept_and_that_is_an_alarm(bench: Bench, tmp_path: Path) -> None:
    """Nobody knows what it had read. Told again is harmless; what came while it was away must not be lost."""
    database = tmp_path / "cases.sqlite"
    async with bench.running(from_now=True, database=database):
        await bench.begun()
        await bench.send(b"read")
        await bench.until(b"read")
    await asyncio.to_thread(bench.forget)
    await bench.send(b"while away")
    with capture_logs() as logged:
        async with bench.running(from_now=True, database=database):
            await bench.until(b"while away", b"read", *(b"old %d" % number for number in range(10)))
    assert [line["group"] for line in logged if line.get("alarm") == "positions-lost"] == [group_of(bench.step)]
    with capture_logs() as logged:
        async with bench.running(from_now=True, database=database):
            await bench.send(b"last")
            await bench.until(b"last")
    assert not [line for line in logged if "alarm" in line]


async def test_a_group_that_began_before_it_was_remembered_is_remembered(bench: Bench, tmp_path: Path) -> None:
    """Killed between the two, or of an earlier version."""
    database = tmp_path / "cases.sqlite"
    async with bench.running(from_now=True):
        await bench.begun()
    async with bench.running(from_now=True, database=database):
        await bench.send(b"new")
        await bench.until(b"new")
    await asyncio.to_thread(bench.forget)
    with capture_logs() as logged:
        async with bench.running(from_now=True, database=database):
            await bench.until(b"old 0")
    assert [line["group"] for line in logged if line.get("alarm") == "positions-lost"] == [group_of(bench.step)]


async def test_positions_that_are_there_are_left(bench: Bench) -> None:
    group = group_of(bench.step)
    await asyncio.to_thread(begin_at_the_end, bench.bootstrap, group, [bench.topic])
    before = await asyncio.to_thread(group_offsets, bench.bootstrap, group)
    assert sum(before.values()) == 10
    await bench.send(*(b"later %d" % number for number in range(7)))
    await bench.log.append([Outgoing(bench.empty, b"%d" % number, b"of a partition that was added") for number in range(20)])
    await asyncio.to_thread(begin_at_the_end, bench.bootstrap, group, [bench.topic, bench.empty])
    after = await asyncio.to_thread(group_offsets, bench.bootstrap, group)
    assert after == {**before, **{(bench.empty, number): 0 for number in range(4)}}
    assert sum((await asyncio.to_thread(group_lag, bench.bootstrap, group, [bench.topic])).values()) == 7


async def test_a_broker_that_is_away(bench: Bench) -> None:
    with pytest.raises(BrokerUnavailable):
        await asyncio.to_thread(begin_at_the_end, "127.0.0.1:1", "nobody", [bench.topic])
