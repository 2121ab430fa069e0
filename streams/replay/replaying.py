"""`radstream replay`: a plan becomes a replay of a name, and a replay is run until it is done or somebody stops it. The act is on
the audit before anything is written into the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

from connectors.kafka_admin import list_topics
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
from streams.replay.running import Pace, until_pause_is_asked
from streams.replay.snapshot import Snapshots
from streams.settings import Settings
from streams.topics import plain_name
from streams.wiring.clients import history_for, log_for
from streams.wiring.replays import Opened, answers_now, deciding_settings, gate_digest, opened, pin_of, pinned_models
from streams.wiring.running import unless
from streams.wiring.shadows import ensure_sandbox

Outcome = Literal["begun", "done", "failed"]
ActTold = Callable[[Manifest, Outcome], Awaitable[None]]

#: inputs in a second, unless whoever runs it says otherwise
RATE = 200.0


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and why."""

    by: str
    reason: str

    def check(self, name: str) -> None:
        """Raises SettingsInvalid."""
        if not (0 < len(self.by.strip()) <= 200 and 0 < len(self.reason.strip()) <= 1000):
            raise SettingsInvalid("replay", name, "--by has 1 to 200 characters, --reason 1 to 1000")


def create(
    settings: Settings, name: str, plan: Plan, who: Who, *, models: Sequence[str] = (), through: Through = "report"
) -> ReplayFolder:
    """A replay that was not run yet. `models`: NAME/VERSION, that speak in it whichever is in use. Raises SettingsInvalid: the name
    was used before, or is none; who or why is missing."""
    who.check(name)
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
    SettingsInvalid (another process runs it, it is done or half removed, it is of another version, settings that decide were
    changed), ModelFailed and as `Load`, BrokerUnavailable (before it has begun), StoreUnavailable, StepStopped, RecordsRemoved: a
    run that failed goes on from its last snapshot."""
    folder.read()
    with folder.held():
        if folder.removal_has_begun:
            raise SettingsInvalid("replay", folder.name, f"is half removed: radstream replay remove {folder.name} does the rest")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_without_work, folder)
            manifest, clock = _to_be_run(folder.read(), settings), SystemClock()
            looking = asyncio.create_task(until_pause_is_asked(lambda: folder.pause_is_asked, stop))
            stack.callback(looking.cancel)
            # to load a model, or to read where the answers stand, takes its time
            begun = await unless(stop, _begun(settings, folder, manifest, stack, stop, Pace(rate), tell, by or manifest.by))
            if begun is None:
                return manifest
            manifest, replay, act = begun
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
            if finished:  # before the manifest says so: one that is killed in between is resumed, and tells it again
                await act(manifest, "done")
            folder.write(manifest)
            return manifest


async def _begun(
    settings: Settings,
    folder: ReplayFolder,
    manifest: Manifest,
    stack: AsyncExitStack,
    stop: asyncio.Event,
    pace: Pace,
    tell: Callable[[int], None],
    by: str,
) -> tuple[Manifest, Opened, ActTold]:
    """All that is before the first record; nothing is written but the act and the topics of the sandbox."""
    log, history = await stack.enter_async_context(log_for(settings)), history_for(settings)
    models = {}
    if manifest.through == "report" and (manifest.plan.analyses or manifest.plan.studies):
        models = dict(await pinned_models(settings, log, manifest.asked, manifest.models, stack))
    if manifest.begun_at is None:
        gate = await gate_digest(settings) if models else None
        manifest = manifest.model_copy(
            update={
                "models": {service: pin_of(speaking.current, gate) for service, speaking in models.items()},
                "answers": tuple(await answers_now(history, manifest.plan.begins)),
                "begun_at": SystemClock().now(),
            }
        )
    act = partial(_act, settings, log, by=by)
    if not folder.has_begun:
        await _is_free(settings, manifest.name)
    await act(manifest, "begun")
    folder.write(manifest)  # from here on the topics are its own: see `remove`
    await asyncio.to_thread(ensure_sandbox, settings, sandbox_of(manifest.name))
    replay = await opened(
        settings, manifest, folder.path, log=log, history=history, models=models, stack=stack, stop=stop, pace=pace, tell=tell
    )
    if manifest.state == "planned" and replay.outbox.found:
        folder.write(manifest.model_copy(update={"begun_at": None}))
        said = "its sandbox is not empty, and nobody knows what is in it: take another name"
        raise SettingsInvalid("replay", manifest.name, said)
    return manifest, replay, act


async def _is_free(settings: Settings, name: str) -> None:
    """Shadows have the same names, and so have replays of another machine. Raises SettingsInvalid, BrokerUnavailable."""
    there = await asyncio.to_thread(list_topics, settings.kafka.bootstrap)
    if taken := [topic.name for topic in sandbox_of(name).topics if topic.name in there]:
        said = f"{taken[0]} is there already, of a shadow or of a replay elsewhere: take another name"
        raise SettingsInvalid("replay", name, said)


async def _without_work(folder: ReplayFolder) -> None:
    """Nobody needs the case store of one that is done, and it names patients. To be called when it is closed."""
    if folder.read().state == "done":
        await asyncio.to_thread(Snapshots(folder.path).remove)


def _to_be_run(manifest: Manifest, settings: Settings) -> Manifest:
    if manifest.state == "done":
        raise SettingsInvalid("replay", manifest.name, "is done: what it says stays, begin one of another name")
    if manifest.radstream != (here := version("radstream")) or manifest.settings_sha256 is None:
        before = manifest.radstream or "unknown"
        said = (
            f"was planned by version {before} of radstream, and this is {here}: go on with that one, or begin one of another name"
        )
        raise SettingsInvalid("replay", manifest.name, said)
    if manifest.settings_sha256 != deciding_settings(settings):
        said = "settings that decide what the steps say were changed since it was planned: begin one of another name"
        raise SettingsInvalid("replay", manifest.name, said)
    return manifest


async def _act(settings: Settings, log: EventLog, manifest: Manifest, outcome: Outcome, *, by: str) -> None:
    """A replay is done once: told twice that has one id."""
    at, key = SystemClock().now(), hash_key(settings.audit.hash_key_file)
    told = manifest.begun_at if outcome == "done" and manifest.begun_at is not None else at
    selection = manifest.plan.selection.without_patients(lambda patient: keyed_hash(key, "patient", patient))
    event = ReplayBegun(
        id=identity("replay-begun", manifest.name, outcome, told.isoformat()),
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
