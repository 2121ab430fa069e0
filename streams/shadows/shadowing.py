"""`radstream model shadow`: an act of a person, told to the log and to the audit once its package has shown that it works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pydantic import ValidationError

from connectors.kafka_admin import list_topics
from schemas.errors import SettingsInvalid
from schemas.findings import ModelIdentity
from schemas.model_events import ModelShadowed
from schemas.ports import Clock, EventLog
from streams.clock import SystemClock
from streams.observability import configure_logging
from streams.promotion.acts import audit_and_tell
from streams.promotion.promoting import read_acts
from streams.promotion.verifying import verified
from streams.settings import Settings
from streams.shadows.sandbox import Sandbox
from streams.shadows.shadow import shadowed
from streams.wiring.clients import ensure_all_topics, log_for
from streams.wiring.models import package_store_for
from streams.wiring.shadows import ensure_sandbox


@dataclass(frozen=True, slots=True)
class Approvable:
    """A package that has shown that it works, and whose report it speaks in."""

    identity: ModelIdentity
    service: str
    card_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for. `reference`: NAME/VERSION."""

    reference: str
    sandbox: str
    approved_by: str
    reason: str

    def event(self, of: Approvable, at: datetime, *, ended: bool) -> ModelShadowed:
        """Raises SettingsInvalid: a sandbox's name, who or why, that are none."""
        try:
            return shadowed(
                of.identity,
                of.service,
                self.sandbox,
                card_sha256=of.card_sha256,
                approved_by=self.approved_by,
                reason=self.reason,
                at=at,
                ended=ended,
            )
        except ValidationError as error:
            wrong = ", ".join(f"--{part}".replace("_", "-") for one in error.errors() for part in map(str, one["loc"]))
            raise SettingsInvalid("shadow", wrong, "is empty, too long, or no name (a-z, 0-9 and hyphens)") from None


async def run_shadow(settings: Settings, asked: Asked, say: Callable[[str], None], *, end: bool) -> None:
    """Begins, or ends. Raises SettingsInvalid (no such package, none for this engine, nothing to end), ModelFailed,
    ModelUnavailable, BrokerUnavailable, ObjectStoreUnavailable."""
    configure_logging("shadow")
    clock = SystemClock()
    await asyncio.to_thread(ensure_all_topics, settings)
    if end:
        async with log_for(settings) as log:
            await ended(log, asked, clock)
        say(f"{asked.reference} sees no more. What it said stays: `radstream model compare --sandbox {asked.sandbox}`.")
        return
    well = await _approvable(settings, asked.reference)
    async with log_for(settings) as log:
        event = await begun(log, asked, well, clock, partial(make_topics, settings, Sandbox(asked.sandbox)))
    say(f"From now on {asked.reference} sees what the model in use for {event.service} sees. What it says goes to")
    say(f"sandbox.{event.sandbox}.* alone: `radstream model compare --sandbox {event.sandbox}`.")


def make_topics(settings: Settings, sandbox: Sandbox) -> None:
    """Of the sandbox, that are missing. Raises SettingsInvalid when a replay has its name, and BrokerUnavailable."""
    if sandbox.foreign(list_topics(settings.kafka.bootstrap)):
        raise SettingsInvalid("shadow", sandbox.name, "is the sandbox of a replay: take another name")
    ensure_sandbox(settings, sandbox)


async def _approvable(settings: Settings, reference: str) -> Approvable:
    folder = await package_store_for(settings).folder(reference)
    well = await asyncio.to_thread(verified, folder, settings)
    if well.card is None:
        raise SettingsInvalid("shadow", reference, "is a gate, and says nothing of its own: see RADSTREAM_MODELS__GATE")
    return Approvable(well.identity, well.card.service, well.card_sha256)


async def begun(log: EventLog, asked: Asked, of: Approvable, clock: Clock, make_topics: Callable[[], object]) -> ModelShadowed:
    """Written to the log and to the audit. Raises SettingsInvalid, and then nothing was made or written."""
    event = asked.event(of, clock.now(), ended=False)
    await asyncio.to_thread(make_topics)
    await audit_and_tell(log, event, Sandbox(event.sandbox).key)
    return event


async def ended(log: EventLog, asked: Asked, clock: Clock) -> ModelShadowed:
    """Raises SettingsInvalid when that package is not what runs in the sandbox."""
    shadows = (await read_acts(log)).shadows
    act = shadows.get(asked.sandbox)
    if act is None or f"{act.name}/{act.version}" != asked.reference:
        said = ", ".join(f"{one.name}/{one.version} in {name}" for name, one in sorted(shadows.items()))
        raise SettingsInvalid("shadow", asked.sandbox, f"{asked.reference} does not run there; what runs: {said or 'nothing'}")
    of = Approvable(
        ModelIdentity(name=act.name, version=act.version, weights_sha256=act.weights_sha256), act.service, act.card_sha256
    )
    event = asked.event(of, clock.now(), ended=True)
    await audit_and_tell(log, event, Sandbox(event.sandbox).key)
    return event
