"""The destinations of the settings: how each is reached, which step tells it, and what to do when it does not answer.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from schemas.errors import SettingsInvalid
from streams import topics
from streams.clock import SystemClock
from streams.destination_settings import FHIR_DESTINATION, ArchiveDestination, OruDestination, WebhookDestination
from streams.listener_settings import host_and_port
from streams.settings import Settings
from streams.wiring.clients import archive_access, fhir_server, http_access, without_password
from streams.wiring.running import run_step, window

if TYPE_CHECKING:
    from connectors.archive_access import ArchiveAccess
    from connectors.case_store import SqlCaseStore
    from connectors.fhir import FhirServer
    from connectors.reporting.webhook import WebhookReceiver
    from schemas.findings import Findings
    from schemas.ports import Acknowledgement, Step
    from schemas.reporting import ReportingSystem
    from streams.health import Part


@dataclass(frozen=True, slots=True)
class Connected:
    """A destination that can be told. `ask` says in words what answers there, or raises what keeps it from being told."""

    step: Callable[[SqlCaseStore], Step]
    ask: Callable[[], Awaitable[str]]
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Destination:
    """`connect` may run in any thread and raises SettingsInvalid. `advice`: what to do when it does not answer. `from_now`: what
    its topic held before is not for it."""

    name: str
    topic: topics.Topic
    connect: Callable[[], Connected]
    advice: str
    from_now: bool = True


def destinations(settings: Settings) -> Sequence[Destination]:
    """All, that of the section `fhir` first."""
    url = without_password(settings.fhir.url)
    first = partial(fhir_destination, FHIR_DESTINATION, partial(fhir_server, settings.fhir))
    advice = f"radstream services up fhir, or set RADSTREAM_FHIR__URL (now {url}) and its credentials"
    found = [Destination(FHIR_DESTINATION, topics.FINDINGS, first, advice, from_now=False)]
    of = settings.destinations
    for fhir in of.fhir:
        connect = partial(fhir_destination, fhir.name, partial(fhir_server, fhir))
        found.append(Destination(fhir.name, topics.FINDINGS, connect, _advice("FHIR", fhir.name)))
    told: list[tuple[str, str, Callable[[], ReportingSystem]]] = [
        *(("ARCHIVE", one.name, partial(archive_receiver, one, settings)) for one in of.archive),
        *(("ORU", one.name, partial(oru_receiver, one, settings)) for one in of.oru),
        *(("WEBHOOK", one.name, partial(webhook_receiver, one)) for one in of.webhook),
    ]
    for kind, name, receiver in told:
        found.append(Destination(name, topics.RESULTS, partial(told_destination, name, receiver), _advice(kind, name)))
    return found


async def bring(destination: Destination, settings: Settings, stop: asyncio.Event, part: Part) -> None:
    """One destination to the last state of each study, as a consumer group of its own, until `stop`. Raises SettingsInvalid,
    StepStopped, BrokerUnavailable."""
    name = f"deliver.{destination.name}"
    connected = await asyncio.to_thread(destination.connect)  # loading renderings takes seconds, in which others go on
    try:
        runner = window(name, settings, from_now=destination.from_now)
        await run_step(name, connected.step, [destination.topic], runner, settings, stop, part, remembered=True)
    finally:
        await connected.close()


async def warn(settings: Settings, stop: asyncio.Event, part: Part) -> None:
    """Of discrepancies: an alarm for each, and the web server of the settings is told. Raises as `bring`."""
    from streams.steps.warn import Warn

    name = settings.discrepancies.receiver or ""
    receivers = [webhook_receiver(one) for one in settings.destinations.webhook if one.name == name]
    receiver = receivers[0] if receivers else None
    try:
        runner = window("warn", settings, size=1)
        await run_step("warn", partial(Warn, receiver, name), [topics.DISCREPANCIES], runner, settings, stop, part, remembered=True)
    finally:
        if receiver is not None:
            await receiver.close()


def fhir_destination(name: str, connect: Callable[[], FhirServer]) -> Connected:
    """A server that knows which state it holds."""
    from streams.refusing import Probed, ProbedStore
    from streams.steps.deliver import deliver

    server = connect()
    store = ProbedStore(server, Probed(name, server.probe))

    def step(cases: SqlCaseStore) -> Step:
        return partial(deliver, destination=name, store=store, cases=cases)

    async def ask() -> str:
        version = await _fhir_version(server)
        await server.probe()
        return f"FHIR {version}"

    return Connected(step, ask, server.close)


def told_destination(name: str, connect: Callable[[], ReportingSystem]) -> Connected:
    """A receiver for which we remember what it was told."""
    from streams.refusing import Probed
    from streams.steps.inform import inform

    receiver = connect()
    probed = Probed(name, receiver.probe)

    async def tell(findings: Findings, held: Findings | None) -> Acknowledgement:
        return await probed(receiver.tell(findings, held))

    def step(cases: SqlCaseStore) -> Step:
        return partial(inform, destination=name, tell=tell, tellings=cases)

    async def ask() -> str:
        await receiver.probe()
        return "answers"

    return Connected(step, ask, receiver.close)


def archive_receiver(destination: ArchiveDestination, settings: Settings) -> ReportingSystem:
    """Raises SettingsInvalid when a file of its credentials or certificates cannot be used."""
    from connectors.reporting.archive import ArchiveReceiver

    return ArchiveReceiver(
        destination.dicomweb_url or settings.archive.dicomweb_url,
        timeout_s=destination.timeout_s,
        size_limit=destination.size_limit,
        access=archive_access(settings) if destination.dicomweb_url is None else _access(destination),
        zone=settings.site.time_zone,
        language=settings.site.language,
    )


def webhook_receiver(destination: WebhookDestination) -> WebhookReceiver:
    """Raises as `archive_receiver`, and when its secret cannot be used."""
    from connectors.reporting.webhook import WebhookReceiver

    return WebhookReceiver(
        destination.url,
        secret_file=destination.secret_file,
        timeout_s=destination.timeout_s,
        clock=SystemClock(),
        access=_access(destination),
    )


def oru_receiver(destination: OruDestination, settings: Settings) -> ReportingSystem:
    """Raises SettingsInvalid when a file of its certificates cannot be used."""
    from connectors.mllp.client import MllpClient
    from connectors.reporting.hl7oru import OruReceiver
    from connectors.tls import client_context
    from schemas.renderings.hl7oruterms import OruTerms

    to = destination
    host, port = host_and_port(to.address)
    client = MllpClient(
        host,
        port,
        timeout_s=to.timeout_s,
        tls=client_context(to.tls_ca, to.tls_certificate, to.tls_key) if to.tls_ca else None,
        allow_plaintext_beyond_loopback=to.allow_plaintext_beyond_loopback,
    )
    terms = OruTerms(
        sender=(to.sending_application, to.sending_facility),
        receiver=(to.receiving_application, to.receiving_facility),
        processing_id=to.processing_id,
        charset=to.charset,
        language=to.language or settings.site.language,
        status=to.unverified,
        accession_field=to.accession_field,
        time_zone=settings.site.time_zone,
        lines=to.field_lines,
        limit=to.field_limit,
        unit=to.field_unit,
        disclaimer=to.field_disclaimer,
    )
    return OruReceiver(client, terms)


def _access(entered: ArchiveDestination | WebhookDestination) -> ArchiveAccess:
    from connectors.archive_access import ArchiveAccess

    return ArchiveAccess(
        token_file=entered.token_file,
        user=entered.user,
        password_file=entered.password_file,
        tls_ca=entered.tls_ca,
        tls_certificate=entered.tls_certificate,
        tls_key=entered.tls_key,
        oauth2=http_access(entered) if entered.oauth2_token_url else None,
    )


async def _fhir_version(server: FhirServer) -> str:
    """Raises SettingsInvalid when it is no FHIR R4 server; and as its `read`."""
    statement = await server.read("metadata") or {}
    version = str(statement.get("fhirVersion", ""))
    if statement.get("resourceType") != "CapabilityStatement" or not version.startswith("4."):
        raise SettingsInvalid("doctor", "metadata", "what answers there is no FHIR R4 server")
    return version


def _advice(kind: str, name: str) -> str:
    return f"check {name} in RADSTREAM_DESTINATIONS__{kind}: address, credentials, certificates; what waits for it is kept"
