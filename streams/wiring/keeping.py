"""The role `work keep`: what looks after the log itself.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from schemas.errors import BrokerUnavailable
from streams.clock import SystemClock
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import live_history_for, log_for, object_store_for
from streams.wiring.running import kept, together, unless

if TYPE_CHECKING:
    from streams.health import Part

Run = Callable[[Settings, asyncio.Event, "Part"], Coroutine[Any, Any, None]]
RanBefore = Callable[[Settings], Coroutine[Any, Any, bool]]


async def keep(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each part is begun again when it ends, and none disturbs another."""
    from streams.health import Shared

    shared, looked = Shared(health), asyncio.Event()
    runs: dict[str, tuple[Run, RanBefore]] = {
        "notary": (partial(_notary, looked=looked), _notary_ran),
    }
    if settings.segments.url is not None:
        runs["archive"] = partial(_archive, looked=looked), _archive_ran
    # all parts before the first of them is ready: the role is when all are
    parts = [(name, shared.part(name), partial(ran, settings), run) for name, (run, ran) in runs.items()]
    await together(
        stop, *(kept(name, partial(run, settings, stop, part), stop, part, ran_before=ran) for name, part, ran, run in parts)
    )


async def _notary_ran(settings: Settings) -> bool:
    """Then a key that is gone is no reason to stop everything else."""
    from streams.audit.signing import public_file

    return public_file(settings.audit.key_file).exists()


async def _notary(settings: Settings, stop: asyncio.Event, part: Part, *, looked: asyncio.Event) -> None:
    """`looked`: set at the latest when it ends otherwise than for want of the broker."""
    try:
        await _notarise(settings, stop, part, looked)
    except BrokerUnavailable:
        raise
    except BaseException:
        looked.set()
        raise


async def _notarise(settings: Settings, stop: asyncio.Event, part: Part, looked: asyncio.Event) -> None:
    from streams.audit.checkpoint_file import CheckpointFile
    from streams.audit.notary import Notary
    from streams.audit.signing import signer_of

    audit = settings.audit
    if audit.checkpoint_interval_s is None:
        part.set("ready")
        looked.set()
        await stop.wait()
        return
    signer = signer_of(audit.key_file)
    async with log_for(settings) as log, live_history_for(settings) as live:
        notary = Notary(log, live, signer, CheckpointFile(audit.checkpoint_file), SystemClock())
        await notary.run(stop, part, interval_s=audit.checkpoint_interval_s, looked=looked)


async def _archive_ran(_: Settings) -> bool:
    """A key or a folder that is gone is told by its health, and no reason to stop everything else."""
    return True


async def _archive(settings: Settings, stop: asyncio.Event, part: Part, *, looked: asyncio.Event) -> None:
    """`looked`: set when the notary has. Where retention takes something between the first look of the one and of the other, the
    archive must not be what began earlier: no checkpoint would ever cover it."""
    from datetime import timedelta

    from streams.segments.archiving import Archiver

    if not looked.is_set():
        part.set("ready", note="it waits for the first look of the notary")
        await unless(stop, looked.wait())
        if stop.is_set():
            return
    archive = settings.segments
    assert archive.url is not None
    objects, age = object_store_for(settings, archive.url), timedelta(seconds=archive.age_s)
    async with live_history_for(settings) as live:
        await Archiver(objects, live, SystemClock(), archive.topics, size=archive.size, age=age).run(stop, part)
