"""A replay: the steps of a message's walk a second time, in one process and in a sandbox. There is no client here by which anything
could reach a receiver: what there is can read the topics and the archive, and write to the sandbox's topics and one file.

Imports are made inside each function: a replay that asks no model loads none.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from schemas.errors import ModelFailed, SettingsInvalid
from schemas.history import History, Span
from streams import topics
from streams.model_settings import ModelSettings
from streams.replay.answered import answered_at
from streams.replay.cascade import Cascade, Part
from streams.replay.clock import EventClock
from streams.replay.manifest import Manifest, PinnedModel
from streams.replay.outbox import Outbox, sandbox_of
from streams.replay.reading import ReadOnlyArchive
from streams.replay.running import Pace, Running, patient, waiting
from streams.replay.snapshot import Snapshots
from streams.settings import Settings
from streams.shadows.sandbox import SandboxLog
from streams.wiring.clients import archive_for, decoder_for
from streams.wiring.walk import analysing_name, policy_for, reporting_site, timers_for

if TYPE_CHECKING:
    from pathlib import Path

    from connectors.case_store import SqlCaseStore
    from schemas.ports import EventLog, Record
    from streams.case_state import Policy
    from streams.promotion.models_in_use import InUse, ModelsInUse

#: the settings that decide what the steps of a replay say; the rest say where things are, or for how long they are waited for
_DECIDING: Mapping[str, Any] = {
    **dict.fromkeys(("site", "admission", "correlation", "news", "discrepancies", "choosing", "models"), True),
    "decoding": {"memory_limit", "pixel_limit"},
    "archive": {"size_limit"},
}
_ELSEWHERE = {"token_file", "tls_ca", "timeout_s", "allow_plaintext_beyond_loopback"}
_SAID_ELSEWHERE: Mapping[str, Any] = {
    # what answers at the address of a remote is believed to stay what it is: its weights are not here
    "models": {"url": True, "copies": True, "timeout_s": True, "remotes": {"__all__": _ELSEWHERE}},
    "discrepancies": {"receiver"},
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A replay that can be run on its inputs, those of the plan that are left."""

    running: Running
    outbox: Outbox
    inputs: AsyncGenerator[Record]


def deciding_settings(settings: Settings) -> str:
    """SHA-256."""
    told = settings.model_dump(mode="json", include=dict(_DECIDING), exclude=dict(_SAID_ELSEWHERE))
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


async def answers_now(history: History, earliest: datetime | None) -> Sequence[Span]:
    """Where the answers stand that came since then. Raises BrokerUnavailable."""
    return () if earliest is None else [span for span in await history.since(topics.RESULTS.name, earliest) if len(span)]


async def pinned_models(
    settings: Settings, log: EventLog, asked: Sequence[str], pinned: Mapping[str, PinnedModel], stack: AsyncExitStack
) -> Mapping[str, ModelsInUse]:
    """What speaks for each service: of the models `asked`, else what is in use now; of a run that goes on, the same as before.
    Closed with `stack`. Raises as `streams.promotion.models_in_use.Load`; ModelFailed when a package or the gate is not what was
    pinned, or a model in use was recalled; SettingsInvalid."""
    from streams.promotion.candidates import Candidates
    from streams.promotion.models_in_use import ModelsInUse
    from streams.promotion.promoting import read_acts
    from streams.wiring.models import load_in_use, package_store_for, services

    store = package_store_for(settings)
    load = partial(load_in_use, settings=settings, store=store)
    served = await services(settings, store)
    wanted = await services(settings.model_copy(update={"models": _using(settings, asked)}), store) if asked else {}
    if other := sorted(set(wanted) - set(served)):
        raise SettingsInvalid("replay", ", ".join(wanted[one] for one in other), f"nothing analyses for {', '.join(other)} here")
    acts, gate, found = await read_acts(log), await gate_digest(settings), {}
    for service, own in served.items():
        named = pinned[service].reference if service in pinned else wanted.get(service)
        first: Callable[[], Awaitable[InUse]] = Candidates(service, own, log, load, acts).first
        in_use = await (first() if named is None else load(named))
        stack.push_async_callback(in_use.close)
        if service in pinned and pin_of(in_use, gate) != pinned[service]:
            said = "the package or the gate before it was changed since the replay began: begin one of another name"
            raise ModelFailed("replay", pinned[service].reference, said)
        found[service] = ModelsInUse(in_use)
    return found


async def gate_digest(settings: Settings) -> str | None:
    """SHA-256 of the gate's card, which names that of its weights; None: there is no gate. Raises as `PackageStore.folder`."""
    from streams.model_store import CARD, digest_of
    from streams.wiring.models import package_store_for

    gate = settings.models.gate
    return None if gate is None else digest_of(await package_store_for(settings).folder(gate) / CARD)


def pin_of(in_use: InUse, gate_sha256: str | None) -> PinnedModel:
    """`gate_sha256`: see `gate_digest`."""
    return PinnedModel(
        reference=in_use.reference,
        weights_sha256=in_use.model.identity.weights_sha256,
        card_sha256=in_use.card_sha256,
        gate_sha256=gate_sha256,
    )


def _using(settings: Settings, asked: Sequence[str]) -> ModelSettings:
    return settings.models.model_copy(update={"use": tuple(asked)})


async def opened(
    settings: Settings,
    manifest: Manifest,
    folder: Path,
    *,
    log: EventLog,
    history: History,
    models: Mapping[str, ModelsInUse],
    stack: AsyncExitStack,
    stop: asyncio.Event,
    pace: Pace,
    tell: Callable[[int], None],
) -> Opened:
    """What it needs is closed with `stack`. Raises BrokerUnavailable, StoreUnavailable, SettingsInvalid; as `History.records`."""
    snapshots = Snapshots(folder)
    cases, state = await snapshots.begin()
    stack.push_async_callback(cases.close)
    sandbox = sandbox_of(manifest.name)
    wait = waiting(stop)
    outbox = Outbox(SandboxLog(log, sandbox), history, sandbox, wait, state.put)
    await outbox.begin()
    clock = EventClock() if state.now is None else EventClock(state.now)
    joined = manifest.plan.selection.start != "analyse" and manifest.through != "normalise"
    policy = await policy_for(settings)
    cascade = Cascade(
        [
            *_first_parts(settings, manifest, cases, policy),
            *_analysing(settings, models, cases, stack),
            *([_reporting(settings, cases)] if manifest.through == "report" else []),
        ],
        outbox,
        clock,
        stop,
        timers=timers_for(cases, policy) if joined else {},
        due=cases,
        answered=await answered_at(history, manifest.answers, manifest.plan.studies, manifest.begun_at),
        coming=[one.coming() for one in state.coming],
        number=state.number,
        unexpected=state.unexpected,
    )
    running = Running(cascade, outbox, clock, snapshots, state, pace=pace, stop=stop, tell=tell)
    return Opened(running, outbox, patient(partial(manifest.plan.inputs, history), state.offsets, wait))


def _first_parts(settings: Settings, manifest: Manifest, cases: SqlCaseStore, policy: Policy) -> Sequence[Part]:
    from streams.answering import admitted
    from streams.steps.correlate import TOPICS, correlate
    from streams.steps.normalise import normalise

    start, parts = manifest.plan.selection.start, []
    if start == "normalise":
        step = admitted(partial(normalise, site=settings.site), settings.admission, settings.site.default_charset)
        parts.append(Part("normalise", step, (topics.HL7_RAW,)))
    if start != "analyse" and manifest.through != "normalise":
        parts.append(Part("correlate", partial(correlate, cases=cases, policy=policy), TOPICS, sets_timers=True))
    return parts


def _analysing(settings: Settings, models: Mapping[str, ModelsInUse], cases: SqlCaseStore, stack: AsyncExitStack) -> Sequence[Part]:
    """A part for each service, under the name that the step has live, for a request that was parked or sent again names the step it
    is for; of each study one image after the other is decoded and seen."""
    from streams.steps.analyse import analyse
    from streams.turns import Turns

    if not models:
        return ()
    decoder = stack.enter_context(closing(decoder_for(settings)))
    archive = ReadOnlyArchive(stack.enter_context(closing(archive_for(settings))))
    read = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)
    found = []
    for service, speaking in models.items():
        step = partial(analyse, archive=archive, decoder=decoder, models=speaking, decoding=Turns(), predicting=Turns(), kept=cases)
        found.append(Part(analysing_name(service), step, read, answers=True))
    return found


def _reporting(settings: Settings, cases: SqlCaseStore) -> Part:
    from streams.steps.report import report

    return Part("report", partial(report, site=reporting_site(settings), positions=cases), (topics.RESULTS,))
