"""The roles that speak with the outside: listen, watch, deliver.

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
from streams.listener_settings import host_and_port
from streams.settings import Settings
from streams.wiring.clients import archive_access, archive_for, fhir_server_for, log_and_cases, log_for
from streams.wiring.running import run_step, together, window

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from connectors.pacs.qidopoll import QidoPolling
    from schemas.ports import Step, StudySource
    from streams.health import Part
    from streams.listener_settings import ListenerSettings, MllpSettings

#: the destination "FHIR server" in deliveries and consumer groups
FHIR_DESTINATION = "fhir"


async def listen(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.listen import listen
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "listen")
    async with log_for(settings) as log:
        admission = settings.admission
        await listen(log, SystemClock(), settings.mllp, settings.site, stop, health, admission=admission, tally=tally)


async def watch(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """What sources say, and the step that counts."""
    from connectors.pacs.orthanc import OrthancChanges
    from streams.health import Shared
    from streams.steps.complete import complete
    from streams.watch import watch

    async def follow(sources: Sequence[StudySource], part: Part) -> None:
        async with log_and_cases(settings) as (log, cases):
            part.set("ready")
            await watch(sources, log, cases, interval_s=settings.archive.poll_interval_s, stop=stop)

    with closing(archive_for(settings)) as archive:

        def step(cases: SqlCaseStore) -> Step:
            return partial(complete, archive=archive, cases=cases, quiet=timedelta(seconds=settings.archive.quiet_s))

        access = archive_access(settings)
        feed = OrthancChanges(settings.archive.orthanc_url, timeout_s=settings.archive.timeout_s, access=access)
        shared, runner = Shared(health), window("complete", settings)
        with ExitStack() as stack:
            sources: list[StudySource] = [stack.enter_context(closing(feed))]
            if settings.archive.list_interval_s is not None:
                sources.append(stack.enter_context(closing(_list_of(settings, settings.archive.list_interval_s))))
            await together(
                stop,
                follow(sources, shared.part("sources")),
                run_step("complete", step, [topics.NOTICES], runner, settings, stop, shared.part("complete")),
            )


def _list_of(settings: Settings, interval_s: float) -> QidoPolling:
    from connectors.pacs.qidopoll import QidoPolling

    archive = settings.archive
    return QidoPolling(
        archive.dicomweb_url,
        SystemClock(),
        days=archive.list_days,
        interval_s=interval_s,
        timeout_s=archive.timeout_s,
        access=archive_access(settings),
    )


async def deliver(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each destination is a consumer group of its own: one that is down delays no other (rule 9)."""
    from streams.health import Shared
    from streams.steps.deliver import deliver

    name = f"deliver.{FHIR_DESTINATION}"

    def step(cases: SqlCaseStore) -> Step:
        return partial(deliver, destination=FHIR_DESTINATION, store=fhir_server_for(settings), cases=cases)

    shared = Shared(health)
    runs = [run_step(name, step, [topics.FINDINGS], window(name, settings), settings, stop, shared.part(FHIR_DESTINATION))]
    for address, listener in return_addresses(settings.mllp).items():
        runs.append(_answer(address, listener, settings, stop, shared.part(address)))
    await together(stop, *runs)


def return_addresses(mllp: MllpSettings) -> dict[str, ListenerSettings]:
    """Every HOST:PORT that application answers go to, with the first listener that says so."""
    found: dict[str, ListenerSettings] = {}
    for listener in mllp.all:
        for address in (listener.return_address, *(peer.return_address for peer in listener.peers)):
            if address:
                found.setdefault(address, listener)
    return found


async def _answer(address: str, listener: ListenerSettings, settings: Settings, stop: asyncio.Event, health: Part) -> None:
    from connectors.mllp.client import MllpClient
    from connectors.mllp.tls import client_context
    from streams.steps.answer import AnswerTo

    host, port = host_and_port(address)
    tls = client_context(listener.return_tls_ca, listener.tls_certificate, listener.tls_key) if listener.return_tls_ca else None
    client = MllpClient(host, port, tls=tls, allow_plaintext_beyond_loopback=listener.allow_plaintext_beyond_loopback)
    name = f"answer.{address}"
    runner = window(name, settings, size=1)
    async with client:
        step = AnswerTo(address, client.send)
        await run_step(name, lambda _: step, [topics.HL7_ACKNOWLEDGEMENTS], runner, settings, stop, health)
