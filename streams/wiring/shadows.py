"""The role that shows live traffic to candidates: nothing of what they say leaves their sandboxes.

Imports are made inside each function, so that a process loads only what its role needs: while there is no shadow, no torch.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from streams import topics
from streams.clock import SystemClock
from streams.health import Health, Part, Shared
from streams.settings import Settings
from streams.wiring.clients import archive_for, decoder_for, log_for
from streams.wiring.pictures import last_of_all
from streams.wiring.running import instance_of, unless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from connectors.kafka import KafkaLog
    from schemas.model_events import ModelShadowed
    from schemas.ports import ImageDecoder
    from schemas.study_ports import StudyArchive
    from streams.promotion.models_in_use import Load
    from streams.shadows.sandbox import Sandbox

#: of each shadow: one STAT study, and of the others one that is fetched while the one before is seen
_AT_ONCE = 3


async def shadow(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Idle where nothing runs in the shadow."""
    from streams.shadows.shadow import Shadows

    last_of_all()  # before any thread or process of ours is started: each takes it over
    async with log_for(settings) as log:
        await Shadows(partial(_shadow, settings=settings, log=log), log, Shared(health)).follow(stop)


async def _shadow(act: ModelShadowed, stop: asyncio.Event, part: Part, *, settings: Settings, log: KafkaLog) -> None:
    from streams.wiring.models import load_in_use, package_store_for

    load = partial(load_in_use, settings=settings, store=package_store_for(settings))
    with closing(decoder_for(settings)) as decoder, closing(archive_for(settings)) as archive:
        await run_shadow(act, stop, part, settings=settings, log=log, load=load, archive=archive, decoder=decoder)


async def run_shadow(
    act: ModelShadowed,
    stop: asyncio.Event,
    part: Part,
    *,
    settings: Settings,
    log: KafkaLog,
    load: Load,
    archive: StudyArchive,
    decoder: ImageDecoder,
) -> None:
    """The step `analyse` a second time: another group, another model, and a log that can write to its sandbox alone. Raises as
    `load`; ModelFailed when it is not what was approved; StepStopped, BrokerUnavailable."""
    from streams.guard import Guard
    from streams.promotion.models_in_use import ModelsInUse, approved
    from streams.runner_window import WindowRunner
    from streams.shadows.sandbox import Sandbox, SandboxLog
    from streams.shadows.shadow import NothingDue, analysis_id, giving_up, step_name
    from streams.steps.analyse import analyse
    from streams.turns import Turns

    sandbox, name = Sandbox(act.sandbox), step_name(act)
    await asyncio.to_thread(ensure_sandbox, settings, sandbox)
    in_use = await unless(stop, approved(load, act, "put it into the shadow again"))
    if in_use is None:
        return
    models = ModelsInUse(in_use)
    try:
        step = partial(
            analyse,
            archive=archive,
            decoder=decoder,
            models=models,
            decoding=Turns(settings.decoding.workers),
            predicting=Turns(),
            kept=None,
            results=sandbox.results,
            name=partial(analysis_id, act.sandbox),
        )
        guard = Guard(name, giving_up(step), SandboxLog(log, sandbox), NothingDue(), SystemClock(), stop, health=part.set)
        runner = WindowRunner(
            settings.kafka.bootstrap,
            name,
            size=_AT_ONCE,
            instance=instance_of(name),
            drain_s=settings.runner.kill_after_s / 2,
            from_now=True,
        )
        part.set("ready")
        read = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)
        await runner.run([topic.name for topic in read], guard, stop)
    finally:
        await models.close()


def ensure_sandbox(settings: Settings, sandbox: Sandbox) -> Sequence[str]:
    """Creates the topics of the sandbox that are missing and returns their names. Raises BrokerUnavailable, SettingsInvalid."""
    from connectors.kafka_admin import TopicSpec, ensure_topics

    specs = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in sandbox.topics]
    return ensure_topics(settings.kafka.bootstrap, specs)
