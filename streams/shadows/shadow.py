"""A candidate sees live traffic before anyone sees what it says: which shadows run, and what becomes of a record in one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from schemas.case_store import Due
from schemas.errors import BrokerUnavailable, MalformedMessage, NotYet, RadstreamError, Rejected, Unavailable
from schemas.findings import ModelIdentity
from schemas.identifiers import identity
from schemas.model_events import ModelShadowed, SandboxName
from schemas.ports import EventLog, Outgoing, Record, Step
from schemas.study_events import AnalysisRequested
from streams import topics
from streams.health import Part, Shared
from streams.promotion.acts import Acts

_log = structlog.get_logger(__name__)

Run = Callable[[ModelShadowed, asyncio.Event, Part], Awaitable[None]]
"""One shadow, until the event; it says of its part when it is ready. Raises errors of schemas.errors."""


def shadowed(
    of: ModelIdentity,
    service: str,
    sandbox: SandboxName,
    *,
    card_sha256: str | None = None,
    approved_by: str,
    reason: str,
    at: datetime,
    ended: bool = False,
) -> ModelShadowed:
    """An act of a person, at this moment: the same package may be put into the same sandbox again."""
    return ModelShadowed(
        id=identity("shadowed", sandbox, of.name, of.version, at.isoformat()),
        time=at,
        name=of.name,
        version=of.version,
        service=service,
        weights_sha256=of.weights_sha256,
        card_sha256=card_sha256,
        approved_by=approved_by,
        reason=reason,
        sandbox=sandbox,
        ended=ended,
    )


def step_name(act: ModelShadowed) -> str:
    """Each act is a consumer group of its own: one that is begun again in the same sandbox begins at now, and not where the one
    before was ended."""
    return f"analyse.shadow.{act.sandbox}.{act.id.hex[:8]}"


def analysis_id(sandbox: SandboxName, request: AnalysisRequested, service: str) -> UUID:
    """Never that of a real analysis. A sandbox has one candidate, of one service."""
    return identity("shadow", sandbox, str(request.id), service)


def giving_up(step: Step, who: str = "a shadow") -> Step:
    """For `who` comes back to nothing: parked work is the real step's, and what is not there now will not be there later in the
    time of the events of a replay. What it cannot do now is a dead letter of the sandbox."""

    async def once(record: Record) -> Sequence[Outgoing]:
        try:
            return await step(record)
        except NotYet as error:
            said = f"{type(error).__name__}: {error.reason}; {who} does not come back to it"
            raise Rejected(error.step, error.reference, said) from error

    return once


class NothingDue:
    """For the guard of a step that is `giving_up`."""

    async def put_due(self, due: Due, /) -> None:
        raise AssertionError(f"{due.step} would have parked a record")


@dataclass(frozen=True, slots=True)
class _Running:
    act: ModelShadowed
    stop: asyncio.Event
    task: asyncio.Task[None]


class Shadows:
    """Follows `radstream.models` and keeps each shadow that it names running. One that fails is begun again after a growing pause
    (seconds) and disturbs no other."""

    def __init__(
        self, run: Run, log: EventLog, health: Shared, *, first_pause_s: float = 1.0, longest_pause_s: float = 300.0
    ) -> None:
        self._run = run
        self._event_log = log
        self._health = health
        self._reading = health.part("models")
        self._pauses = first_pause_s, longest_pause_s
        self._acts = Acts()
        self._running: dict[SandboxName, _Running] = {}

    async def follow(self, stop: asyncio.Event) -> None:
        """Until `stop`; then every shadow has ended."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(stop.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._keep_to({})
            if self._running:
                await asyncio.wait([one.task for one in self._running.values()])
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        """First all that there is, so that nothing which has ended is begun; again from the beginning after each break: what was
        seen is seen as such."""
        pause, _ = self._pauses
        while True:
            try:
                async for record in self._event_log.read(topics.MODELS.name):
                    self._see(record)
                self._reading.set("ready")
                self._keep_to(self._acts.shadows)
                async for record in self._event_log.read(topics.MODELS.name, follow=True):
                    if self._see(record):
                        self._keep_to(self._acts.shadows)
            except BrokerUnavailable as error:
                self._reading.set("paused", str(error))
                _log.warning("shadows cannot be followed now", error=str(error))
            await asyncio.sleep(pause)  # a broker that comes back gives no event

    def _see(self, record: Record) -> bool:
        try:
            return self._acts.see(record)
        except MalformedMessage as error:
            _log.error("an act about a model cannot be read", error=str(error))
            return False

    def _keep_to(self, wanted: Mapping[SandboxName, ModelShadowed]) -> None:
        for name, one in self._running.items():
            if wanted.get(name) != one.act:
                one.stop.set()
        for name, act in wanted.items():
            before = self._running.get(name)
            if before is None or before.stop.is_set():
                stop = asyncio.Event()
                task = asyncio.create_task(self._keep(act, stop, before.task if before else None))
                self._running[name] = _Running(act, stop, task)

    async def _keep(self, act: ModelShadowed, stop: asyncio.Event, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        part = self._health.part(act.sandbox)
        part.set("ready")  # the role is, whatever becomes of this one
        pause, longest = self._pauses
        while not stop.is_set():
            state, reason = "ready", "ended by itself"
            try:
                await self._run(act, stop, part)
            except Unavailable as error:
                state, reason = "paused", str(error)
            except RadstreamError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - one that is broken disturbs no other
                reason = type(error).__name__  # its text may quote a message
            if stop.is_set():
                break
            _log.error("a shadow does not run", sandbox=act.sandbox, model=f"{act.name}/{act.version}", error=reason, pause_s=pause)
            part.set(state, reason)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, longest)
        part.set("ready")
