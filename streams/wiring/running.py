"""How a step is run: its guard, its runner, its name as a consumer group; and several of them in one role.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from schemas.errors import RadstreamError, SettingsInvalid, StoreUnavailable
from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import case_store_for, log_and_cases

T = TypeVar("T")
_log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from schemas.ports import Step
    from streams.guard import Refusal
    from streams.health import Part
    from streams.runner import Runner


async def run_step(
    name: str,
    step: Callable[[SqlCaseStore], Step],
    read: Sequence[topics.Topic],
    runner: Runner,
    settings: Settings,
    stop: asyncio.Event,
    health: Health | Part,
    refusal: Refusal | None = None,
    *,
    remembered: bool = False,
) -> None:
    """Until `stop`. `remembered`: that it ran, for `ran_before`. Raises StepStopped, BrokerUnavailable, StoreUnavailable."""
    from streams.guard import Guard, tell_nobody

    async with log_and_cases(settings) as (log, cases):
        refused = refusal or tell_nobody
        guard = Guard(name, step(cases), log, cases, SystemClock(), stop, health=health.set, refusal=refused)
        if remembered:
            await _remember(name, cases)
        health.set("ready")
        await runner.run([topic.name for topic in read], guard, stop)


async def ran_before(name: str, settings: Settings) -> bool:
    """Whether the step of that name ever ran here with settings that could work; also where the database cannot say: then it is for
    whoever tries it again to find out."""
    try:
        async with cases_of(settings) as cases:
            return await cases.position(_ran(name)) is not None
    except StoreUnavailable:
        return True


async def _remember(name: str, cases: SqlCaseStore) -> None:
    with contextlib.suppress(StoreUnavailable):  # it may need no database; at its next start it is remembered
        await cases.put_position(_ran(name), "")


def _ran(name: str) -> str:
    return f"ran {name}"


@asynccontextmanager
async def cases_of(settings: Settings) -> AsyncIterator[SqlCaseStore]:
    """The database, until the end of the block."""
    cases = case_store_for(settings)
    try:
        yield cases
    finally:
        await cases.close()


def instance_of(name: str) -> str:
    """Kept over restarts, so that a restart is no rebalance; of this machine, because two members of one name fence each other.
    Kafka takes letters, digits, dot, underscore and hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{name}-{platform.node()}")


def faust(name: str, settings: Settings) -> Runner:
    """For a short step."""
    from streams.runner_faust import FaustRunner

    return FaustRunner(settings.kafka.bootstrap, name, instance=instance_of(name), drain_s=settings.runner.kill_after_s / 2)


def window(name: str, settings: Settings, size: int | None = None, *, from_now: bool = False) -> Runner:
    """For a long step. `size`: records in flight, None: as the settings say; 1: one after the other, whatever their keys.
    `from_now`: as of WindowRunner, and the database remembers that it has begun."""
    from streams.runner_window import WindowRunner

    size = size or settings.runner.window
    drain_s = settings.runner.kill_after_s / 2
    instance = instance_of(name)
    begun = partial(cases_of, settings) if from_now else None
    return WindowRunner(
        settings.kafka.bootstrap, name, size=size, instance=instance, drain_s=drain_s, from_now=from_now, begun=begun
    )


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives; None, and it is cancelled, when stop is asked before: a model takes its time to load."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        for task in (doing, stopping):
            task.cancel()
        await asyncio.wait((doing, stopping))


async def kept(
    name: str,
    run: Callable[[], Coroutine[Any, Any, None]],
    stop: asyncio.Event,
    health: Part,
    *,
    ran_before: Callable[[], Awaitable[bool]] | None = None,
    first_pause_s: float = 0.2,
    longest_pause_s: float = 10.0,
    sound_after_s: float = 30.0,
) -> None:
    """Until `stop`: what ends before is begun again after a growing pause (seconds), and nothing beside it notices. Raises
    SettingsInvalid of the first time: that is for who starts it to know. Not of what `ran_before`: a file that went missing is no
    reason to stop everything else."""
    loop, pause, begun = asyncio.get_running_loop(), first_pause_s, False
    while not stop.is_set():
        started = loop.time()
        try:
            await run()
            reason = "it ended"
        except RadstreamError as error:
            if isinstance(error, SettingsInvalid) and not begun and (ran_before is None or not await ran_before()):
                raise
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            reason = type(error).__name__  # its text may quote anything
        if stop.is_set():
            return
        begun = True
        pause = first_pause_s if loop.time() - started > sound_after_s else min(pause * 2, longest_pause_s)
        _log.error("a part of the role ended and is started again", part=name, reason=reason, pause_s=pause)
        health.set("paused", reason)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def together(stop: asyncio.Event, *runs: Coroutine[Any, Any, None]) -> None:
    """All of them, until the first ends: then the others are stopped too, and the supervisor starts the role again."""

    async def one(run: Coroutine[Any, Any, None]) -> None:
        try:
            await run
        finally:
            stop.set()

    for ended in await asyncio.gather(*map(one, runs), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
