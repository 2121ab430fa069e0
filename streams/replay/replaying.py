"""`radstream replay`: a plan becomes a replay of a name, and a replay is run until it is done or somebody stops it. The act is on
the audit before anything is written into the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

from schemas.acts import ReplayBegun
from schemas.errors import RadstreamError, SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import EventLog
from streams.audit.acts import audited
from streams.audit.keyed import hash_key, keyed_hash
from streams.clock import SystemClock
from streams.replay.manifest import Manifest, ReplayFolder, Through
from streams.replay.outbox import sandbox_of
from streams.replay.plan import Plan
from streams.replay.running import Pace
from streams.settings import Settings
from streams.topics import plain_name
from streams.wiring.clients import history_for, log_for
from streams.wiring.replays import answers_now, deciding_settings, gate_digest, opened, pin_of, pinned_models
from streams.wiring.shadows import ensure_sandbox

Say = Callable[[str], None]

#: inputs in a second, unless whoever runs it says otherwise
RATE = 200.0


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and why."""

    by: str
    reason: str


def create(
    settings: Settings, name: str, plan: Plan, who: Who, *, models: Sequence[str] = (), through: Through = "report"
) -> ReplayFolder:
    """A replay that was not run yet. `models`: NAME/VERSION, that speak in it whichever is in use. Raises SettingsInvalid: the name
    was used before, or is none; who or why is missing."""
    if not (0 < len(who.by.strip()) <= 200 and 0 < len(who.reason.strip()) <= 1000):
        raise SettingsInvalid("replay", name, "--by has 1 to 200 characters, --reason 1 to 1000")
    folder = ReplayFolder(settings, name)
    folder.create(
        Manifest(
            name=folder.name,
            by=who.by.strip(),
            reason=who.reason.strip(),
            planned_at=SystemClock().now(),
            plan=plan,
            through=through,
            asked=tuple(models),
            settings_sha256=deciding_settings(settings),
            radstream=version("radstream"),
        )
    )
    return folder


async def run(
    settings: Settings,
    folder: ReplayFolder,
    *,
    rate: float | None,
    stop: asyncio.Event,
    tell: Callable[[int], None],
    by: str | None = None,
) -> Manifest:
    """From where it stands; returns it as it is then: done, or paused. `by`: who goes on with it, None: who planned it. Raises
    SettingsInvalid (another process runs it, it is done, it is of another version, settings that decide were changed), ModelFailed
    and as `Load`, BrokerUnavailable (before it has begun), StoreUnavailable, StepStopped, RecordsRemoved: a run that failed goes on
    from its last snapshot."""
    folder.read()
    with folder.held():
        manifest = _to_be_run(folder.read(), settings)
        clock = SystemClock()
        async with AsyncExitStack() as stack:
            log = await stack.enter_async_context(log_for(settings))
            history = history_for(settings)
            models = {}
            if manifest.through == "report" and (manifest.plan.analyses or manifest.plan.studies):
                models = dict(await pinned_models(settings, log, manifest.asked, manifest.models, stack))
            if manifest.begun_at is None:
                gate = await gate_digest(settings) if models else None
                manifest = manifest.model_copy(
                    update={
                        "models": {service: pin_of(speaking.current, gate) for service, speaking in models.items()},
                        "answers": tuple(await answers_now(history, manifest.plan.begins)),
                        "begun_at": clock.now(),
                    }
                )
            act = partial(_act, settings, log, by=by or manifest.by)
            await act(manifest, "begun")
            await asyncio.to_thread(ensure_sandbox, settings, sandbox_of(manifest.name))
            replay = await opened(
                settings,
                manifest,
                folder.path,
                log=log,
                history=history,
                models=models,
                stack=stack,
                stop=stop,
                pace=Pace(rate),
                pause_is_asked=lambda: folder.pause_is_asked,
                tell=tell,
            )
            if manifest.state == "planned" and replay.outbox.found:
                said = "its sandbox is not empty, and nobody knows what is in it: take another name"
                raise SettingsInvalid("replay", manifest.name, said)
            manifest = manifest.model_copy(update={"state": "running", "failure": ""})
            folder.write(manifest)
            try:
                finished = await replay.running.run(replay.inputs)
            except RadstreamError as error:
                folder.write(manifest.model_copy(update={"state": "failed", "failure": str(error), "ended_at": clock.now()}))
                await act(manifest, "failed")
                raise
            manifest = manifest.model_copy(
                update={
                    "state": "done" if finished else "paused",
                    "records": replay.running.done,
                    "written": {plain_name(topic): count for topic, count in replay.outbox.put_so_far.items() if count},
                    "ended_at": clock.now(),
                }
            )
            folder.write(manifest)
            if finished:
                await act(manifest, "done")
            return manifest


def _to_be_run(manifest: Manifest, settings: Settings) -> Manifest:
    if manifest.state == "done":
        raise SettingsInvalid("replay", manifest.name, "is done: what it says stays, begin one of another name")
    if manifest.radstream != (here := version("radstream")):
        before = manifest.radstream or "unknown"
        said = (
            f"was planned by version {before} of radstream, and this is {here}: go on with that one, or begin one of another name"
        )
        raise SettingsInvalid("replay", manifest.name, said)
    if manifest.settings_sha256 != deciding_settings(settings):
        said = "settings that decide what the steps say were changed since it was planned: begin one of another name"
        raise SettingsInvalid("replay", manifest.name, said)
    return manifest


async def _act(
    settings: Settings, log: EventLog, manifest: Manifest, outcome: Literal["begun", "done", "failed"], *, by: str
) -> None:
    at, key = SystemClock().now(), hash_key(settings.audit.hash_key_file)
    selection = manifest.plan.selection.without_patients(lambda patient: keyed_hash(key, "patient", patient))
    event = ReplayBegun(
        id=identity("replay-begun", manifest.name, outcome, at.isoformat()),
        time=at,
        by=by,
        reason=manifest.reason,
        outcome=outcome,
        replay=manifest.name,
        selection=selection.model_dump_json(exclude_defaults=True),
        records=manifest.plan.records,
        models=tuple(sorted(pinned.reference for pinned in manifest.models.values())),
    )
    await audited(log, f"replay.{manifest.name}", event)
