"""Packages that are loaded by a script, and one worker that follows promotions of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from schemas.errors import SettingsInvalid
from schemas.findings import ModelIdentity
from schemas.model_events import ModelPromoted, ModelTaken
from schemas.ports import EventLog, Place, Record
from streams import topics
from streams.promotion.acts import promotion, recall_key, told
from streams.promotion.acts import recall as recall_of
from streams.promotion.following import Follower
from streams.promotion.models_in_use import InUse, ModelsInUse
from streams.steps.choosing import IntendedUse
from tests.unit.analyses import ScriptedModel

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
OWN = "nodules/1"


def digest(reference: str) -> str:
    return f"{sum(reference.encode()):064x}"


def model(reference: str, service: str = ScriptedModel.service) -> ScriptedModel:
    name, _, version = reference.partition("/")
    found = ScriptedModel()
    found.identity = ModelIdentity(name=name, version=version, weights_sha256=digest(reference))
    found.service = service
    return found


@dataclass
class Packages:
    """`there`: by reference; an error is raised when it is loaded. `loads` are those that began, `loaded` those that gave a model.
    `gate`, `closing`: while it is closed a load waits, or the end of a model."""

    there: dict[str, ScriptedModel | Exception] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def of(cls, *references: str, service: str = ScriptedModel.service) -> Packages:
        packages = cls({reference: model(reference, service) for reference in references})
        packages.gate.set()
        packages.closing.set()
        return packages

    async def load(self, reference: str) -> InUse:
        self.loads.append(reference)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
            found = self.there.get(reference, SettingsInvalid("load", reference, "there is no such package"))
            if isinstance(found, Exception):
                raise found
        finally:
            self.under_way -= 1

        async def end() -> None:
            await self.closing.wait()
            self.closed.append(reference)

        async def close() -> None:  # to the end, like that of ModelProcess
            ending = asyncio.create_task(end())
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise

        self.loaded.append(reference)
        return InUse(found, IntendedUse(), close, digest(f"card of {reference}"))


class Ticking:
    """A clock that never says the same time twice."""

    def __init__(self) -> None:
        self.ticks = 0

    def now(self) -> datetime:
        self.ticks += 1
        return NOW + timedelta(seconds=self.ticks)


class Told:
    """Health, as last told."""

    def __init__(self) -> None:
        self.state, self.reason = "", ""

    def set(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason


CLOCK = Ticking()


async def promote(
    log: EventLog, reference: str, *, service: str = ScriptedModel.service, weights: str | None = None
) -> ModelPromoted:
    """Written on the log."""
    name, _, version = reference.partition("/")
    of = ModelIdentity(name=name, version=version, weights_sha256=weights or digest(reference))
    event = promotion(of, service, approved_by="Dr A", reason="better", at=CLOCK.now())
    await log.append(told(event, name))
    return event


async def recall(log: EventLog, reference: str) -> None:
    """Written on the log."""
    name, _, version = reference.partition("/")
    event = recall_of(name, version, approved_by="Dr B", reason="it misses", at=CLOCK.now())
    await log.append(told(event, recall_key(event)))


@dataclass
class Worker:
    """A follower that has started."""

    follower: Follower
    models: ModelsInUse
    health: Told
    stop: asyncio.Event
    following: asyncio.Task[None]

    @property
    def uses(self) -> str:
        return self.models.current.reference


def follower(log: EventLog, packages: Packages, health: Told, service: str = ScriptedModel.service) -> Follower:
    return Follower(
        service,
        OWN,
        worker="analyse-here",
        log=log,
        load=packages.load,
        clock=CLOCK,
        health=health,
        first_pause_s=0.01,
        longest_pause_s=0.02,
    )


@asynccontextmanager
async def worker(log: EventLog, packages: Packages, service: str = ScriptedModel.service) -> AsyncIterator[Worker]:
    """Follows for the length of the block."""
    health, stop = Told(), asyncio.Event()
    following = follower(log, packages, health, service)
    models = await following.start()
    task = asyncio.create_task(following.follow(models, stop))
    try:
        yield Worker(following, models, health, stop, task)
    finally:
        stop.set()
        await task
        await models.close()


def said(records: Sequence[Record], service: str = ScriptedModel.service) -> list[tuple[str, bool]]:
    """What workers of the service said that they use, and whether well."""
    events = [
        ModelTaken.model_validate_json(record.value)
        for record in records
        if record.header("ce_type") == ModelTaken.TYPE and record.value
    ]
    return [(f"{event.name}/{event.version}", event.well) for event in events if event.service == service]


def record_at(offset: int, key: str, value: bytes, kind: str) -> Record:
    return Record(Place(topics.MODELS.name, 0, offset), key.encode(), value, (("ce_type", kind.encode()),), NOW)
