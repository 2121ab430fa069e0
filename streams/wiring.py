"""The only place where objects meet: from settings to the body of each role.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

import asyncio
import platform
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from streams import topics
from streams.clock import SystemClock
from streams.health import Health
from streams.role import Body, LoopFactory
from streams.settings import Settings

if TYPE_CHECKING:
    from connectors.case_store import SqlCaseStore
    from connectors.decoding import PebbleDecoder
    from connectors.dicomweb import DicomWebArchive
    from connectors.fhir import FhirServer
    from connectors.kafka import KafkaLog
    from models.inference import NoduleModel
    from schemas.findings import ModelIdentity
    from schemas.ports import Step
    from streams.case_state import Policy
    from streams.guard import Refusal
    from streams.health import Part
    from streams.listener_settings import ListenerSettings, MllpSettings
    from streams.runner import Runner

STEPS = ("normalise", "correlate", "analyse", "report", "project", "due")
#: one process each, in the order of a message's walk
ROLES = (
    "listen",
    "work normalise",
    "watch",
    "work correlate",
    "work analyse",
    "work report",
    "deliver",
    "work project",
    "work due",
)

#: the destination "FHIR server" in deliveries and consumer groups
FHIR_DESTINATION = "fhir"


def ensure_all_topics(settings: Settings) -> Sequence[str]:
    """Creates the topics that are missing and returns their names. Raises BrokerUnavailable, SettingsInvalid."""
    from connectors.kafka_admin import TopicSpec, ensure_topics

    specs = [TopicSpec(topic.name, topic.partitions, topic.config) for topic in topics.ALL]
    return ensure_topics(settings.kafka.bootstrap, specs)


def archive_for(settings: Settings) -> DicomWebArchive:
    """The DICOMweb archive."""
    from connectors.dicomweb import DicomWebArchive

    return DicomWebArchive(
        settings.archive.dicomweb_url,
        timeout_s=settings.archive.timeout_s,
        size_limit=settings.archive.size_limit,
        pool_size=settings.archive.connections,
        default_accession_assigner=settings.site.issuer_of_accession_number,
        default_patient_assigner=settings.archive.default_patient_assigner or settings.site.default_assigner,
    )


def fhir_server_for(settings: Settings) -> FhirServer:
    """The FHIR server that reports go to."""
    from connectors.fhir import FhirServer

    return FhirServer(settings.fhir.url, timeout_s=settings.fhir.timeout_s, pool_size=settings.fhir.connections)


def decoder_for(settings: Settings) -> PebbleDecoder:
    """Decoding processes; to be closed."""
    from connectors.decoding import PebbleDecoder

    decoding = settings.decoding
    return PebbleDecoder(
        workers=decoding.workers,
        timeout_s=decoding.timeout_s,
        memory_limit_bytes=decoding.memory_limit,
        pixel_limit=decoding.pixel_limit,
    )


def package_folder(settings: Settings) -> Path:
    """A relative path is looked for in the working folder, then where the packages that come with radstream are."""
    path = Path(settings.models.url)
    return path if path.is_absolute() or path.exists() else Path(__file__).parents[1] / path


def model_for(settings: Settings) -> NoduleModel:
    """The loaded model: checksum and self-test have passed. Raises SettingsInvalid, ModelFailed."""
    from models.registry import load_model

    return load_model(package_folder(settings), settings.models.threads)


def model_identity(settings: Settings) -> ModelIdentity:
    """As `model_for`, for those who only ask whether it could speak."""
    return model_for(settings).identity


def database_is_there(settings: Settings) -> bool:
    """For those who only look: an SQLite file that is absent would be made by opening it. A server is asked when it is used."""
    scheme, _, file = settings.database.url.partition(":///")
    return scheme != "sqlite" or Path(file).exists()


def case_store_for(settings: Settings) -> SqlCaseStore:
    """The database; a missing folder of an SQLite file is made."""
    from connectors.case_store import SqlCaseStore

    url = settings.database.url
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return SqlCaseStore(url)


@asynccontextmanager
async def _log_and_cases(settings: Settings) -> AsyncIterator[tuple[KafkaLog, SqlCaseStore]]:
    from connectors.kafka import KafkaLog

    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            KafkaLog(settings.kafka.bootstrap, append_timeout_s=settings.kafka.append_timeout_s, record_limit=topics.LARGEST_RECORD)
        )
        cases = case_store_for(settings)
        stack.push_async_callback(cases.close)
        yield log, cases


async def _run_step(
    name: str,
    step: Callable[[SqlCaseStore], Step],
    read: Sequence[topics.Topic],
    runner: Runner,
    settings: Settings,
    stop: asyncio.Event,
    health: Health | Part,
    refusal: Refusal | None = None,
) -> None:
    from streams.guard import Guard, tell_nobody

    async with _log_and_cases(settings) as (log, cases):
        refused = refusal or tell_nobody
        guard = Guard(name, step(cases), log, cases, SystemClock(), stop, health=health.set, refusal=refused)
        health.set("ready")
        await runner.run([topic.name for topic in read], guard, stop)


def _instance(name: str) -> str:
    """Kept over restarts, so that a restart is no rebalance; of this machine, because two members of one name fence each other.
    Kafka takes letters, digits, dot, underscore and hyphen."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{name}-{platform.node()}")


def _faust(name: str, settings: Settings) -> Runner:
    from streams.runner_faust import FaustRunner

    return FaustRunner(settings.kafka.bootstrap, name, instance=_instance(name), drain_s=settings.runner.kill_after_s / 2)


def _window(name: str, settings: Settings) -> Runner:
    from streams.runner_window import WindowRunner

    drain_s = settings.runner.kill_after_s / 2
    return WindowRunner(settings.kafka.bootstrap, name, size=settings.runner.window, instance=_instance(name), drain_s=drain_s)


async def _normalise(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.answering import Answering
    from streams.steps.normalise import normalise
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "work-normalise")
    step = Answering(partial(normalise, site=settings.site), settings.admission, settings.site.default_charset, tally)
    runner = _faust("normalise", settings)
    await _run_step("normalise", lambda _: step, [topics.HL7_RAW], runner, settings, stop, health, step.refusal)


def _policy(settings: Settings) -> Policy:
    from streams.case_state import Policy

    return Policy(order_wait=timedelta(seconds=settings.correlation.order_wait_s), without_order=settings.correlation.without_order)


async def _correlate(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.correlate import correlate

    def step(cases: SqlCaseStore) -> Step:
        return partial(correlate, cases=cases, policy=_policy(settings))

    read = [topics.ORDERS, topics.PATIENTS, topics.STUDIES]
    await _run_step("correlate", step, read, _faust("correlate", settings), settings, stop, health)


async def _analyse(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.analyse import analyse
    from streams.steps.choosing import IntendedUse

    with closing(decoder_for(settings)) as decoder, closing(archive_for(settings)) as archive:  # decoders start beside torch
        model = await asyncio.to_thread(model_for, settings)
        use = model.card.intended_use
        intended_use = IntendedUse(
            modalities=use.modalities,
            body_parts=use.body_parts,
            view_positions=use.views,
            body_part_required=use.body_part_required,
            view_required=use.view_required,
        )
        step = partial(analyse, archive=archive, decoder=decoder, model=model, intended_use=intended_use)
        read = [topics.REQUESTS_STAT, topics.REQUESTS]
        with closing(model):
            await _run_step("analyse", lambda _: step, read, _window("analyse", settings), settings, stop, health)


async def _report(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from schemas.renderings.fhir.references import Site
    from streams.steps.report import report

    step = partial(report, site=Site(assigner=settings.site.default_assigner))
    await _run_step("report", lambda _: step, [topics.RESULTS], _faust("report", settings), settings, stop, health)


async def _deliver(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Each destination is a consumer group of its own: one that is down delays no other (rule 9)."""
    from streams.health import Shared
    from streams.steps.deliver import deliver

    name = f"deliver.{FHIR_DESTINATION}"

    def step(cases: SqlCaseStore) -> Step:
        return partial(deliver, destination=FHIR_DESTINATION, store=fhir_server_for(settings), cases=cases)

    shared = Shared(health)
    runs = [_run_step(name, step, [topics.FINDINGS], _window(name, settings), settings, stop, shared.part(FHIR_DESTINATION))]
    for address, listener in return_addresses(settings.mllp).items():
        runs.append(_answer(address, listener, settings, stop, shared.part(address)))
    await _together(stop, *runs)


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
    from streams.runner_window import WindowRunner
    from streams.steps.answer import AnswerTo

    parts = urlsplit(f"//{address}")
    assert parts.hostname and parts.port  # the settings saw to it
    tls = client_context(listener.return_tls_ca, listener.tls_certificate, listener.tls_key) if listener.return_tls_ca else None
    client = MllpClient(
        parts.hostname, parts.port, tls=tls, allow_plaintext_beyond_loopback=listener.allow_plaintext_beyond_loopback
    )
    name = f"answer.{address}"
    drain_s = settings.runner.kill_after_s / 2
    runner = WindowRunner(settings.kafka.bootstrap, name, size=1, instance=_instance(name), drain_s=drain_s)
    async with client:
        step = AnswerTo(address, client.send)
        await _run_step(name, lambda _: step, [topics.HL7_ACKNOWLEDGEMENTS], runner, settings, stop, health)


async def _together(stop: asyncio.Event, *runs: Coroutine[Any, Any, None]) -> None:
    """All of them, until the first ends: then the others are stopped too, and the supervisor starts the role again."""

    async def one(run: Coroutine[Any, Any, None]) -> None:
        try:
            await run
        finally:
            stop.set()

    for ended in await asyncio.gather(*map(one, runs), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


async def _project(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.steps.project import project

    def step(cases: SqlCaseStore) -> Step:
        return partial(project, cases=cases)

    read = [
        topics.ORDERS, topics.REPORTS, topics.STUDIES, topics.REQUESTS, topics.REQUESTS_STAT, topics.RESULTS,
        topics.FINDINGS, topics.DELIVERIES, topics.DEAD_LETTERS,
    ]  # fmt: skip
    await _run_step("project", step, read, _faust("project", settings), settings, stop, health)


async def _due(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from streams.due import run_sweeper
    from streams.steps.correlate import order_wait_over
    from streams.telling import ORDER_AWAITED

    async with _log_and_cases(settings) as (log, cases):
        timers = {ORDER_AWAITED: partial(order_wait_over, cases=cases, policy=_policy(settings))}
        health.set("ready")
        interval = timedelta(seconds=settings.correlation.sweep_interval_s)
        await run_sweeper(cases, log, SystemClock(), timers, stop=stop, interval=interval)


async def _listen(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from connectors.kafka import KafkaLog
    from streams.listen import listen
    from streams.tally import Tally

    tally = Tally(settings.run_folder, "listen")
    async with KafkaLog(
        settings.kafka.bootstrap, append_timeout_s=settings.kafka.append_timeout_s, record_limit=topics.LARGEST_RECORD
    ) as log:
        admission = settings.admission
        await listen(log, SystemClock(), settings.mllp, settings.site, stop, health, admission=admission, tally=tally)


async def _watch(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    from connectors.pacs.orthanc import OrthancChanges
    from streams.watch import watch

    with closing(archive_for(settings)) as archive:
        source = OrthancChanges(settings.archive.orthanc_url, archive, timeout_s=settings.archive.timeout_s)
        with closing(source):
            async with _log_and_cases(settings) as (log, cases):
                health.set("ready")
                await watch([source], log, cases, interval_s=settings.archive.poll_interval_s, stop=stop)


def body_of(role: str) -> Body:
    """What a role's process runs. Raises KeyError for a role that is none of ROLES."""
    return {
        "listen": _listen,
        "watch": _watch,
        "work normalise": _normalise,
        "work correlate": _correlate,
        "work analyse": _analyse,
        "work report": _report,
        "deliver": _deliver,
        "work project": _project,
        "work due": _due,
    }[role]


def loop_factory_of(role: str) -> LoopFactory | None:
    """uvloop where every message is a visit to sockets; asyncio's own loop, which faust knows, elsewhere (None)."""
    if role != "listen":
        return None
    import uvloop

    return uvloop.new_event_loop
