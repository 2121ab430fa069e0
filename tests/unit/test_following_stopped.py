"""A stop in the middle of a load: it is heard, and whatever was loaded is closed, once."""

from __future__ import annotations

import asyncio

import pytest

from streams import topics
from streams.wiring.running import unless
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.followers import NEW, log, told, until
from tests.unit.packages import OWN, Packages, Told, follower, promote, worker

__all__ = ["log"]


async def in_the_middle(log: FakeEventLog, packages: Packages) -> None:
    """A worker is at work, and loads what was promoted: until the gate is opened."""
    await until(lambda: told(log))
    packages.gate.clear()
    await promote(log, NEW)
    await until(lambda: packages.under_way)


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_and_a_load_that_ends_however_close_they_are(log: FakeEventLog, turns: int) -> None:
    """`turns` of the event loop between the two: whichever comes first, what was loaded is closed, once."""
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await in_the_middle(log, packages)
        here.stop.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        packages.gate.set()
    assert packages.under_way == 0
    assert sorted(packages.closed) == sorted(packages.loaded)


async def test_a_stop_in_the_middle_of_a_load_is_heard_and_what_is_half_loaded_never_speaks(log: FakeEventLog) -> None:
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await in_the_middle(log, packages)
        here.stop.set()
        async with asyncio.timeout(5):
            await here.following
        assert (packages.under_way, packages.loaded) == (0, [OWN])
        assert here.uses == OWN, "for those that are still under way"
        packages.gate.set()
    assert packages.closed == [OWN]
    assert told(log) == [(OWN, True)]
    assert log.records(topics.MODELS.name)[-1].value == b"", "it has said that it ended"


async def test_a_stop_while_what_was_not_approved_is_put_away(log: FakeEventLog) -> None:
    """Its process must not be left behind."""
    packages = Packages.of(OWN, NEW)
    async with worker(log, packages) as here:
        await until(lambda: told(log))
        packages.closing.clear()
        await promote(log, NEW, weights="f" * 64)
        await until(lambda: packages.under_way == 0 and NEW in packages.loaded)
        here.stop.set()
        for _ in range(8):
            await asyncio.sleep(0)
        packages.closing.set()
    assert packages.closed == [NEW, OWN]


@pytest.mark.parametrize("turns", range(8))
async def test_a_stop_before_anything_speaks(log: FakeEventLog, turns: int) -> None:
    packages, stop = Packages.of(OWN), asyncio.Event()
    packages.gate.clear()
    starting = asyncio.create_task(unless(stop, follower(log, packages, Told()).start()))
    await until(lambda: packages.under_way)
    stop.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    packages.gate.set()
    models = await starting
    if models is not None:
        await models.close()
    assert packages.under_way == 0
    assert packages.closed == packages.loaded
    assert told(log) == []
