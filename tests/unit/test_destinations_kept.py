"""A destination that ends is begun again, and the others of its role go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.errors import SettingsInvalid
from streams.guard import StepStopped
from streams.health import Health, Part, Shared, read_health
from streams.settings import DatabaseSettings, Settings
from streams.wiring.running import kept, ran_before, together


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(Health(tmp_path, "deliver"))


class Run:
    """Ends with each of `ends`, one after the other; then runs until stop. `begun`: how often it was."""

    def __init__(self, stop: asyncio.Event, part: Part, *ends: Exception | None) -> None:
        self._stop, self._part, self._ends = stop, part, list(ends)
        self.begun = 0
        self.runs = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        if self._ends:
            if (end := self._ends.pop(0)) is not None:
                raise end
            return
        self._part.set("ready")
        self.runs.set()
        await self._stop.wait()


async def test_whatever_ends_one_the_others_never_notice(shared: Shared, tmp_path: Path) -> None:
    stop = asyncio.Event()
    broken, sound = shared.part("ris"), shared.part("fhir")
    ends = (StepStopped("deliver.ris", "ai.results/0/3", "5 unexpected exceptions in a row"), RuntimeError("MRN-4711"), None)
    one, other = Run(stop, broken, *ends), Run(stop, sound)
    both = together(
        stop,
        kept("ris", one, stop, broken, first_pause_s=0.01, longest_pause_s=0.02),
        kept("fhir", other, stop, sound),
    )
    running = asyncio.create_task(both)
    async with asyncio.timeout(30):
        await one.runs.wait()
    assert (one.begun, other.begun) == (4, 1)
    assert read_health(tmp_path)["deliver"].state == "ready"
    stop.set()
    await running


async def test_meanwhile_its_part_of_the_health_is_red_and_says_why(shared: Shared, tmp_path: Path) -> None:
    stop = asyncio.Event()
    part, sound = shared.part("ris"), shared.part("fhir")
    sound.set("ready")
    run = Run(stop, part, RuntimeError("MRN-4711"))
    running = asyncio.create_task(kept("ris", run, stop, part, first_pause_s=3600, longest_pause_s=3600))
    async with asyncio.timeout(30):
        while (health := read_health(tmp_path).get("deliver")) is None or not health.reason:
            await asyncio.sleep(0)
    assert (health.state, health.reason) == ("paused", "ris: RuntimeError")
    stop.set()
    await running
    assert run.begun == 1, "and a stop is heard during the pause"


async def test_settings_that_cannot_work_are_said_at_the_start_and_only_then(shared: Shared) -> None:
    stop = asyncio.Event()
    part = shared.part("ris")
    invalid = SettingsInvalid("webhook", "secret_file", "/s cannot be read")
    with pytest.raises(SettingsInvalid):
        await kept("ris", Run(stop, part, invalid), stop, part)

    async def never() -> bool:
        return False

    with pytest.raises(SettingsInvalid):
        await kept("ris", Run(stop, part, invalid), stop, part, ran_before=never)
    run = Run(stop, part, RuntimeError(), invalid)
    running = asyncio.create_task(kept("ris", run, stop, part, first_pause_s=0.01))
    async with asyncio.timeout(30):
        await run.runs.wait()
    stop.set()
    await running


async def test_one_that_ran_before_is_tried_again_and_said_to_be_red(shared: Shared, tmp_path: Path) -> None:
    """The engine was restarted, and a file is gone: that must not stop everything else."""
    stop, part = asyncio.Event(), shared.part("ris")
    asked = 0

    async def ran_before() -> bool:
        nonlocal asked
        asked += 1
        return True

    invalid = SettingsInvalid("webhook", "secret_file", "/s cannot be read")
    run = Run(stop, part, invalid, invalid)
    running = asyncio.create_task(kept("ris", run, stop, part, ran_before=ran_before, first_pause_s=0.01))
    async with asyncio.timeout(30):
        await run.runs.wait()
    assert asked == 1, "only of the first time"
    assert read_health(tmp_path)["deliver"].state == "ready"
    stop.set()
    await running


async def test_a_stop_is_no_end(shared: Shared, tmp_path: Path) -> None:
    stop, part = asyncio.Event(), shared.part("ris")

    async def run() -> None:
        part.set("ready")
        stop.set()

    with capture_logs() as lines:
        await kept("ris", run, stop, part)
    assert lines == []
    assert read_health(tmp_path)["deliver"].state == "ready"


async def test_what_never_ran_did_not_run_before_and_a_database_that_cannot_say_refuses_nothing(tmp_path: Path) -> None:
    # a folder is no database
    there, away = (Settings(database=DatabaseSettings(url=f"sqlite:///{tmp_path}/{file}")) for file in ("cases.db", "."))
    assert not await ran_before("deliver.ris", there)
    assert await ran_before("deliver.ris", away)
