"""A partition that goes to another process, on a real Kafka: what is in flight ends, or is cancelled, before the other begins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics, group_lag
from schemas.case_store import Due
from schemas.ports import Outgoing, Record
from streams import runner_window
from streams.clock import SystemClock
from streams.guard import Guard
from streams.runner_window import WindowRunner

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


class NoDue:
    async def put_due(self, due: Due, /) -> None:
        raise AssertionError("nothing is parked here")


class Bench:
    """A topic of one record, and a step that holds it until `free`: what happens, in its order, is in `seen`."""

    def __init__(self, bootstrap: str, log: KafkaLog) -> None:
        self.bootstrap, self.log = bootstrap, log
        self.topic = self.step = f"revoked-{uuid4().hex}"
        self.seen: list[str] = []
        self.news = asyncio.Condition()
        self.free = asyncio.Event()
        ensure_topics(bootstrap, [TopicSpec(self.topic, 1)])

    async def say(self, *what: str) -> None:
        async with self.news:
            self.seen.append(" ".join(what))
            self.news.notify_all()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: len(self.seen) >= count)

    @asynccontextmanager
    async def running(self, who: str) -> AsyncIterator[None]:
        async def hold(record: Record) -> Sequence[Outgoing]:
            await self.say(who, "begins")
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                self.seen.append(f"{who} is cancelled")
                raise
            await self.say(who, "ends")
            return []

        stop = asyncio.Event()
        guard = Guard(self.step, hold, self.log, NoDue(), SystemClock(), stop)
        runner = WindowRunner(self.bootstrap, self.step, instance=f"{self.step}-{who}", drain_s=0.1)
        task = asyncio.create_task(runner.run([self.topic], guard, stop))
        try:
            yield
        finally:
            stop.set()
            await task

    async def committed(self) -> None:
        async with asyncio.timeout(30):
            while any((await asyncio.to_thread(group_lag, self.bootstrap, f"radstream.{self.step}", [self.topic])).values()):
                await asyncio.sleep(0.1)  # positions are the broker's: there is no event to await


@pytest.fixture
async def bench(kafka_bootstrap: str) -> AsyncIterator[Bench]:
    async with KafkaLog(kafka_bootstrap) as log:
        bench = Bench(kafka_bootstrap, log)
        await log.append([Outgoing(bench.topic, b"study", b"a state")])
        yield bench


async def test_what_outlives_the_grace_is_cancelled_before_anybody_begins_it_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an old state could reach a receiver after the later one that the other process tells."""
    monkeypatch.setattr(runner_window, "_REVOKE_GRACE_S", 0.2)
    async with bench.running("one"):
        await bench.until(1)
        async with bench.running("two"):
            await bench.until(3)
            first, cancelled, again = bench.seen[:3]
            assert (first, cancelled) == ("one begins", "one is cancelled")
            assert again in ("one begins", "two begins"), "by whoever has the partition now"
            bench.free.set()
            await bench.committed()
    assert bench.seen[3:] == [again.replace("begins", "ends")]


async def test_what_ends_within_the_grace_is_not_done_again(bench: Bench) -> None:
    async with bench.running("one"):
        await bench.until(1)
        async with bench.running("two"):
            bench.free.set()
            await bench.committed()
    assert bench.seen == ["one begins", "one ends"]
