"""The role `watch`: who says what of studies, and the step that counts.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.settings import Settings
from streams.wiring.clients import archive_access, archive_for, log_and_cases
from streams.wiring.running import run_step, together, window

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from schemas.ports import EventLog, Step
    from schemas.study_ports import StudyListener, StudyOrigin, StudySource
    from streams.health import Part
    from streams.study_settings import DicomSettings, WebhookSettings

    Door = Callable[[Settings, EventLog, SqlCaseStore], StudyListener]

_log = structlog.get_logger(__name__)


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
            *(_open(name, door, settings, stop, shared.part(name)) for name, door in _doors(settings).items()),
        )


async def _follow(sources: Sequence[StudySource], settings: Settings, stop: asyncio.Event, part: Part) -> None:
    from streams.watch import watch

    async with log_and_cases(settings) as (log, cases):
        part.set("ready")
        await watch(sources, log, cases, interval_s=settings.archive.poll_interval_s, stop=stop)
        await stop.wait()  # where there is none to be asked


async def _open(name: str, door: Door, settings: Settings, stop: asyncio.Event, part: Part) -> None:
    from streams.watch import teller

    async with log_and_cases(settings) as (log, cases):
        _log.info("listening", source=name)
        await door(settings, log, cases).listen(teller(log), stop, lambda: part.set("ready"))


def _sources(settings: Settings, stack: ExitStack) -> Sequence[StudySource]:
    """Those that are asked."""
    from connectors.pacs.orthanc import OrthancChanges
    from connectors.pacs.qidopoll import QidoPolling

    archive, access = settings.archive, archive_access(settings)
    sources: list[StudySource] = []
    if archive.orthanc_url is not None:
        feed = OrthancChanges(archive.orthanc_url, timeout_s=archive.timeout_s, access=access)
        sources.append(stack.enter_context(closing(feed)))
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


def _doors(settings: Settings) -> Mapping[str, Door]:
    """Those that are told."""
    doors: dict[str, Door] = {}
    if settings.webhook.token_file is not None:
        doors["webhook"] = partial(_webhook, settings.webhook, settings.webhook.token_file)
    if settings.dicom.port is not None:
        doors["dicom"] = partial(_dicom, settings.dicom, settings.dicom.port)
    return doors


def _webhook(webhook: WebhookSettings, token_file: Path, settings: Settings, log: EventLog, cases: SqlCaseStore) -> StudyListener:
    from connectors.pacs.webhook import Webhook

    del log, cases
    return Webhook(
        SystemClock(),
        token_file=token_file,
        default_accession_assigner=settings.site.issuer_of_accession_number,
        host=webhook.host,
        port=webhook.port,
        certificate=webhook.tls_certificate,
        key=webhook.tls_key,
    )


def _dicom(dicom: DicomSettings, port: int, settings: Settings, log: EventLog, cases: SqlCaseStore) -> StudyListener:
    from connectors.dimse.receiver import DicomReceiver
    from connectors.tls import CertificateFiles
    from streams.watch import refuser

    tls = None
    if dicom.tls_certificate is not None and dicom.tls_key is not None:
        tls = CertificateFiles(dicom.tls_certificate, dicom.tls_key, dicom.tls_client_ca)
    return DicomReceiver(
        cases,
        refuser(log, "dicom"),
        SystemClock(),
        default_accession_assigner=settings.site.issuer_of_accession_number,
        host=dicom.host,
        port=port,
        ae_title=dicom.ae_title,
        calling_ae_titles=dicom.calling_ae_titles,
        allowed=dicom.allowed,
        tls=tls,
        associations=dicom.associations,
        idle_s=dicom.idle_timeout_s,
    )


def _origin(settings: Settings, stack: ExitStack) -> StudyOrigin | None:
    """Asked only where it matters who sent a study. Of an archive that is no Orthanc only those know it who tell of the study."""
    from connectors.pacs.orthanc_origin import OrthancOrigin

    archive = settings.archive
    if archive.orthanc_url is None or not (settings.news.bulk_ae_titles or settings.news.ignored_ae_titles):
        return None
    origin = OrthancOrigin(archive.orthanc_url, timeout_s=archive.timeout_s, access=archive_access(settings))
    return stack.enter_context(closing(origin))
