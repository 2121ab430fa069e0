"""The role that makes pictures for people, beside the message's walk.

Imports are made inside the function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from functools import partial

from streams import topics
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import archive_for, object_store_for, renderer_for
from streams.wiring.running import run_step, window

#: nice(1), where the kernel has no class for what runs when nothing else does
_NICE = 19
#: one is fetched while the one before is rendered
_AT_ONCE = 2


async def render(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Idle where no object store is set."""
    if settings.objects.url is None:
        health.set("ready")
        await stop.wait()
        return
    from streams.steps.render import render

    last_of_all()  # before its rendering process starts, which takes it over
    objects = object_store_for(settings, settings.objects.url)
    with closing(renderer_for(settings)) as renderer, closing(archive_for(settings)) as archive:
        step = partial(render, archive=archive, renderer=renderer, objects=objects)
        runner = window("render", settings, size=_AT_ONCE)
        await run_step("render", lambda _: step, [topics.RESULTS], runner, settings, stop, health)


def last_of_all() -> None:
    """Whoever waits for a finding goes first: sched(7), SCHED_IDLE."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICE)
