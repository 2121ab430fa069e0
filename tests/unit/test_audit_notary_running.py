"""A notary at work: it waits for the broker, tells its alarms in its health, and of two on one machine one waits."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.notary import Notary
from tests.unit.notarised import CHECKPOINTS, Notarised, on_topic, result


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


class Health:
    """Remembers every state; `until` waits for one."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._told = asyncio.Condition()

    def set(self, state: str, reason: str = "", note: str = "") -> None:
        if not self.states or self.states[-1] != (state, reason):
            self.states.append((state, reason))
        if note not in ("", *self.notes[-1:]):
            self.notes.append(note)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._told:
            self._told.notify_all()

    async def until(self, state: str, reason: str = "") -> None:
        async with self._told:
            await asyncio.wait_for(
                self._told.wait_for(lambda: bool(self.states) and self.states[-1][0] == state and reason in self.states[-1][1]), 30
            )


@asynccontextmanager
async def running(notarised: Notarised, health: Health, looked: asyncio.Event | None = None) -> Any:
    stop = asyncio.Event()
    task = asyncio.create_task(notarised.notary.run(stop, health, interval_s=0.01, retry_s=0.01, looked=looked))
    try:
        yield
    finally:
        stop.set()
        await task


async def _no_reason(health: Health) -> None:
    while health.states[-1] != ("ready", ""):
        await health.until("ready")


async def test_it_waits_for_the_broker_and_goes_on(notarised: Notarised) -> None:
    health = Health()
    async with running(notarised, health):
        await health.until("ready")
        notarised.log.away = True
        await health.until("paused", "broker")
        notarised.log.away = False
        await result(notarised)
        await health.until("ready")
    assert len(notarised.lines()) == 1


async def test_an_alarm_is_told_in_its_health_and_ends_when_it_is_mended(notarised: Notarised) -> None:
    await notarised.filled(random.Random(13), looks=2)
    notarised.file.rename(notarised.folder / "copy")
    notarised.restart()
    health = Health()
    async with running(notarised, health):
        await health.until("ready", "lacks checkpoints")
        (notarised.folder / "copy").rename(notarised.file)
        await asyncio.wait_for(_no_reason(health), 30)
    assert health.states[-1] == ("ready", "")
    assert (await notarised.verify()).well


async def test_a_second_one_on_this_machine_waits_and_takes_over(notarised: Notarised) -> None:
    first, second = Health(), Health()
    stop = asyncio.Event()
    async with running(notarised, first):
        await first.until("ready")
        other = Notary(notarised.log, notarised.history, notarised.signer, CheckpointFile(notarised.file), notarised.clock)
        task = asyncio.create_task(other.run(stop, second, interval_s=0.01))
        await second.until("ready")
        assert "another notary" in second.notes[-1]
        await result(notarised)
        await anext(notarised.log.read(CHECKPOINTS, follow=True))
    assert (await notarised.verify()).well
    await asyncio.wait_for(_no_reason(second), 30)
    await result(notarised)
    written = notarised.log.read(CHECKPOINTS, follow=True)
    assert [json.loads((await anext(written)).value)["end"] for _ in range(2)] == [1, 2]
    stop.set()
    await task
    assert (await notarised.verify()).well


async def test_it_tells_that_it_has_looked_once_it_could(notarised: Notarised) -> None:
    health, looked = Health(), asyncio.Event()
    await result(notarised)
    notarised.log.away = True
    async with running(notarised, health, looked):
        await health.until("paused", "broker")
        assert not looked.is_set()
        notarised.log.away = False
        await asyncio.wait_for(looked.wait(), 30)
        assert on_topic(notarised)


async def test_whoever_waits_for_its_look_waits_for_no_person_and_no_other_notary(notarised: Notarised) -> None:
    await notarised.filled(random.Random(13), looks=2)
    notarised.file.rename(notarised.folder / "copy")
    notarised.restart()
    health, looked, other = Health(), asyncio.Event(), asyncio.Event()
    async with running(notarised, health, looked):
        await health.until("ready", "lacks checkpoints")
        await asyncio.wait_for(looked.wait(), 30)
        notarised.restart()
        async with running(notarised, Health(), other):
            await asyncio.wait_for(other.wait(), 30)
