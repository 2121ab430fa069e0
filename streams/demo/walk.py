"""The demo's run: services, engine, an order and a radiograph in; findings out; what happened, step by step with times."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from connectors.fhir import FhirServer
from connectors.kafka import KafkaLog
from connectors.mllp.client import MllpClient
from schemas.errors import BrokerUnavailable
from schemas.findings import Findings
from schemas.ports import EventLog, Record
from schemas.study_events import AnalysisRequested
from streams import topics
from streams.demo.documents import ORU, STRUCTURED_REPORT, write_documents
from streams.demo.orders import order_for
from streams.demo.picture import draw
from streams.demo.radiographs import CHEST, EXTREMITY, copy_of, study_uid_of
from streams.local_engine import LocalEngine, local_engine, settings_for
from streams.services import LocalServices, ServicePorts
from streams.settings import Settings
from streams.unbroken import unbroken
from streams.wiring.clients import archive_for, decoder_for, fhir_server_for

Tell = Callable[[str], None]

#: accession number, film, what the order asks for
_CASES: tuple[tuple[str, str, str], ...] = (("DEMO-CHEST-1", CHEST, "Chest PA"), ("DEMO-LEG-1", EXTREMITY, "Lower leg AP"))
_PATIENT = "DEMO-0001"
#: of a study, until it is delivered
STUDY_PATH = (topics.STUDIES, topics.REQUESTS, topics.RESULTS, topics.FINDINGS)
#: what is shown of the walk, in its order
_SHOWN = (topics.HL7_RAW, topics.ORDERS, *STUDY_PATH, topics.DELIVERIES, topics.DEAD_LETTERS)


async def run_demo(folder: Path, tell: Tell = print) -> None:
    """Runs the main job once and writes finding.png, bundle.json, fhir.json and the documents into `folder`.

    Raises TimeoutError naming what did not arrive; schemas.errors.RadstreamError; streams.services.ServiceError.
    """
    begun = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tell("1. Starting Kafka, Orthanc and the FHIR server")
    services = LocalServices(
        folder / "services", ServicePorts.free(), attached=True, stable_age_seconds=2, tell=lambda s: tell("   " + s)
    )
    await asyncio.to_thread(services.up, "kafka", "orthanc")
    slowest = asyncio.create_task(asyncio.to_thread(services.up, "fhir"))  # the engine starts beside it
    try:
        tell("2. Starting the engine: one process per role")
        async with local_engine(services, settings_for(services, folder)) as engine:
            tell(f"   the engine is ready after {time.monotonic() - begun:.1f} s")
            await slowest
            await _main_job(engine, folder, tell)
    finally:
        await asyncio.wait([slowest])
        await asyncio.to_thread(services.down)
    tell(f"Done in {time.monotonic() - begun:.0f} s; nothing is left running. Look at {folder / 'finding.png'}")


async def _main_job(engine: LocalEngine, folder: Path, tell: Tell) -> None:
    settings = engine.settings
    async with KafkaLog(settings.kafka.bootstrap) as log:
        walk = Walk(tell)
        async with walk.following(log):
            tell("3. Sending two orders over MLLP, and their radiographs by STOW-RS")
            for number, (accession, film, service) in enumerate(_CASES, start=1):
                await _send_order(settings, number, accession, service)
                await archive_for(settings).store([copy_of(film, accession_number=accession, patient_id=_PATIENT)])
                tell(f"   {accession}: order acknowledged (AA), {film} stored in the archive")
            tell("4. What the engine does with them (seconds since the first order was sent)")
            await walk.delivered({study_uid_of(accession) for accession, _, _ in _CASES}, timeout_s=120)
    tell("5. Reading the reports back from the FHIR server: DiagnosticReport?identifier=<accession number>")
    read_back = {accession: await _read_back(fhir_server_for(settings), accession, tell) for accession, _, _ in _CASES}
    (folder / "fhir.json").write_text(json.dumps(read_back, indent=2))
    chest = study_uid_of(_CASES[0][0])
    (folder / "bundle.json").write_bytes(walk.last(topics.FINDINGS.name, chest).value)
    await _draw(settings, walk, folder)
    tell(f"   An archive would be sent {folder / STRUCTURED_REPORT} (DICOM SR), a RIS {folder / ORU} (HL7 ORU^R01)")
    await write_documents(settings, Findings.model_validate_json(walk.last(topics.RESULTS.name, chest).value), folder)
    tell("6. Share of each step in the study path (from imaging.studies to delivered)")
    for line in walk.shares(chest):
        tell("   " + line)


async def _read_back(server: FhirServer, accession: str, tell: Tell) -> list[dict[str, Any]]:
    """The DiagnosticReport of the accession number, and the Observations it lists."""
    resources: list[dict[str, Any]] = []
    for report in await server.search_reports(accession):
        tell(f"   {accession}: DiagnosticReport, status {report['status']}: {report.get('conclusion', '')}")
        resources.append(report)
        for result in report.get("result", ()):
            observation = await server.read(result["reference"])
            if observation is None:
                raise LookupError(f"{result['reference']} is listed by the report and not on the server")
            resources.append(observation)
    return resources


async def _send_order(settings: Settings, number: int, accession: str, service: str) -> None:
    message = order_for(
        accession,
        patient=_PATIENT,
        assigner=settings.site.default_assigner,
        at=datetime.now(UTC),
        control_id=f"DEMO{number:04d}",
        service=service,
    )
    async with MllpClient(settings.mllp.host, settings.mllp.port) as client:
        answer = await client.send(message)
    if not answer.accepted:
        raise BrokerUnavailable("demo", accession, f"the listener answered {answer.code}: is Kafka up?")


async def _draw(settings: Settings, walk: Walk, folder: Path) -> None:
    study = study_uid_of(_CASES[0][0])
    findings = Findings.model_validate_json(walk.last(topics.RESULTS.name, study).value)
    request = AnalysisRequested.model_validate_json(walk.last(topics.REQUESTS.name, study).value)
    part10 = await archive_for(settings).instance(study, request.images[0])
    with closing(decoder_for(settings)) as decoder:
        radiograph = await decoder.decode(part10, request.images[0].sop_instance_uid)
    await asyncio.to_thread(draw, radiograph, findings, folder / "finding.png")


class Walk:
    """Collects the records of the walk and tells each as it comes."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._begun = datetime.now(UTC)
        self._records: list[Record] = []
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def following(self, log: EventLog) -> AsyncIterator[None]:
        """Hears all that is shown, to the end of the block."""
        followers = [asyncio.create_task(self._follow(log, topic.name)) for topic in _SHOWN]
        try:
            yield
        finally:
            for follower in followers:
                follower.cancel()
            for ended in await asyncio.gather(*followers, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

    async def _follow(self, log: EventLog, topic: str) -> None:
        async for record in unbroken(log, topic):
            async with self._news:
                self._records.append(record)
                self._news.notify_all()
            since = (record.timestamp - self._begun).total_seconds()
            self._tell(f"   {since:7.3f} s  {topic:22} {_words(record)}")

    async def delivered(self, studies: set[str], timeout_s: float) -> None:
        """Returns when each study is delivered, and was heard at every station before: topics are read side by side. Raises
        TimeoutError naming those that are not."""

        def missing() -> set[str]:
            there = {json.loads(r.value)["study_instance_uid"] for r in self._of(topics.DELIVERIES.name)}
            for topic in STUDY_PATH:
                there &= {(record.key or b"").decode() for record in self._of(topic.name)}
            return studies - there

        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: not missing())
        except TimeoutError:
            raise TimeoutError(f"not delivered after {timeout_s:.0f} s: {', '.join(sorted(missing()))}") from None

    def last(self, topic: str, study: str) -> Record:
        """The newest record of the study on the topic. Raises LookupError."""
        found = [record for record in self._of(topic) if record.key == study.encode()]
        if not found:
            raise LookupError(f"no record of study {study} on {topic}")
        return found[-1]

    def shares(self, study: str) -> Sequence[str]:
        """One line per step: its time and its share of the study path."""
        stations = [(topic, self.last(topic.name, study).timestamp) for topic in STUDY_PATH]
        delivered = [r for r in self._of(topics.DELIVERIES.name) if json.loads(r.value)["study_instance_uid"] == study]
        stations.append((topics.DELIVERIES, delivered[-1].timestamp))
        whole = (stations[-1][1] - stations[0][1]).total_seconds()
        names = ("correlate", "analyse", "report", "deliver")
        parts = [(b[1] - a[1]).total_seconds() for a, b in pairwise(stations)]
        lines = [f"{name:10} {part:6.3f} s  {part / whole:5.0%}" for name, part in zip(names, parts, strict=True)]
        return [*lines, f"{'together':10} {whole:6.3f} s"]

    def _of(self, topic: str) -> list[Record]:
        return [record for record in self._records if record.place.topic == topic]


def _words(record: Record) -> str:
    """What a record says, without patient data."""
    kind = (record.header("ce_type") or "").removeprefix("org.radstream.")
    if record.place.topic == topics.RESULTS.name:
        findings = Findings.model_validate_json(record.value)
        if findings.not_analysed:
            return f"{kind}: not analysed, {findings.not_analysed.reason.value}"
        return f"{kind}: {len(findings.findings)} finding(s), probability {findings.probability:.2f}"
    return f"{kind}, {len(record.value):,} bytes"
