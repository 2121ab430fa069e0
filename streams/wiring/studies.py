"""The role `watch`: who says what of studies, and the step that counts.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import archive_access, archive_for, log_and_cases
from streams.wiring.running import run_step, together, window

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from schemas.ports import Step, StudyListener, StudyOrigin, StudySource
    from streams.health import Part


async def watch(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each source and each door is a part of the role's health."""
    from streams.health import Shared
    from streams.steps.complete import complete

    shared, runner = Shared(health), window("complete", settings)
    with ExitStack() as stack:
        archive = stack.enter_context(closing(archive_for(settings)))
        origin = _origin(settings, stack)

        def step(cases: SqlCaseStore) -> Step:
            quiet = timedelta(seconds=settings.archive.quiet_s)
            return partial(complete, archive=archive, cases=cases, quiet=quiet, origin=origin)

        await together(
            stop,
            _follow(_sources(settings, stack), settings, stop, shared.part("sources")),
            run_step("complete", step, [topics.NOTICES], runner, settings, stop, shared.part("complete")),
            *(_open(door, settings, stop, shared.part(door.name)) for door in _doors(settings)),
        )


async def _follow(sources: Sequence[StudySource], settings: Settings, stop: asyncio.Event, part: Part) -> None:
    from streams.watch import watch

    async with log_and_cases(settings) as (log, cases):
        part.set("ready")
        await watch(sources, log, cases, interval_s=settings.archive.poll_interval_s, stop=stop)


async def _open(door: StudyListener, settings: Settings, stop: asyncio.Event, part: Part) -> None:
    from streams.watch import teller

    async with log_and_cases(settings) as (log, _):
        await door.listen(teller(log), stop, lambda: part.set("ready"))


def _sources(settings: Settings, stack: ExitStack) -> Sequence[StudySource]:
    """Those that are asked."""
    from connectors.pacs.orthanc import OrthancChanges
    from connectors.pacs.qidopoll import QidoPolling

    archive, access = settings.archive, archive_access(settings)
    feed = OrthancChanges(archive.orthanc_url, timeout_s=archive.timeout_s, access=access)
    sources: list[StudySource] = [stack.enter_context(closing(feed))]
    if archive.list_interval_s is not None:
        recent = QidoPolling(
            archive.dicomweb_url,
            SystemClock(),
            days=archive.list_days,
            interval_s=archive.list_interval_s,
            timeout_s=archive.timeout_s,
            access=access,
        )
        sources.append(stack.enter_context(closing(recent)))
    return sources


def _doors(settings: Settings) -> Sequence[StudyListener]:
    """Those that are told."""
    from connectors.pacs.webhook import Webhook

    doors: list[StudyListener] = []
    if settings.webhook.token_file is not None:
        webhook = Webhook(
            SystemClock(),
            token_file=settings.webhook.token_file,
            default_accession_assigner=settings.site.issuer_of_accession_number,
            host=settings.webhook.host,
            port=settings.webhook.port,
            certificate=settings.webhook.tls_certificate,
            key=settings.webhook.tls_key,
        )
        doors.append(webhook)
    return doors


def _origin(settings: Settings, stack: ExitStack) -> StudyOrigin | None:
    """Asked only where it matters who sent a study."""
    from connectors.pacs.orthanc_origin import OrthancOrigin

    if not (settings.news.bulk_ae_titles or settings.news.ignored_ae_titles):
        return None
    archive = settings.archive
    origin = OrthancOrigin(archive.orthanc_url, timeout_s=archive.timeout_s, access=archive_access(settings))
    return stack.enter_context(closing(origin))
