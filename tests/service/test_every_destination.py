"""The role `deliver` as the settings make it: a FHIR server, an archive, a RIS and a web server hold what was said, and no longer
what was recalled; and whoever is to be warned is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.kafka import KafkaLog
from schemas.discrepancies import DiscrepancyEscalated
from schemas.events import DeliveryAcknowledged
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysedReason
from schemas.identifiers import identity
from schemas.ports import Outgoing
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.references import report_id
from streams.destination_settings import (
    ArchiveDestination,
    DestinationSettings,
    FhirDestination,
    FhirSettings,
    OruDestination,
    WebhookDestination,
)
from streams.discrepancy_settings import DiscrepancySettings
from streams.emission import emit
from streams.health import Health
from streams.sequences import RECALLED
from streams.services import LocalServices
from streams.settings import ArchiveSettings, DatabaseSettings, KafkaSettings, Settings
from streams.topics import DELIVERIES, DISCREPANCIES, FINDINGS, RESULTS
from streams.unbroken import unbroken
from streams.wiring.clients import fhir_server_for
from streams.wiring.edges import deliver
from tests.contract.archive_receiver import ArchiveSide
from tests.contract.example_findings import SITE
from tests.contract.oru_ris import RisServer, ris_server
from tests.contract.reporting_system import WITHDRAWN, Study, said
from tests.contract.webhook_server import SECRET, WebhookServer, webhook_server
from tests.service.fault_proxy import FaultProxy, fault_proxy
from tests.service.positions import begun

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]


@pytest.fixture
def proxy(orthanc_url: str) -> Iterator[FaultProxy]:
    with fault_proxy(orthanc_url) as proxy:
        yield proxy


@pytest.fixture
async def ris() -> AsyncIterator[RisServer]:
    async with ris_server() as server:
        yield server


@pytest.fixture
def web() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


@pytest.fixture
def settings(
    broker: LocalServices, fhir_url: str, orthanc_url: str, ris: RisServer, web: WebhookServer, tmp_path: Path
) -> Settings:
    mark = uuid4().hex[:8]  # groups of this test alone
    (tmp_path / "secret").write_text(SECRET)
    return Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        archive=ArchiveSettings(dicomweb_url=f"{orthanc_url}/dicom-web", orthanc_url=None),
        fhir=FhirSettings(url=fhir_url),
        database=DatabaseSettings(url=f"sqlite:///{tmp_path}/cases.db"),
        destinations=DestinationSettings(
            fhir=(FhirDestination(name=f"research-{mark}", url=fhir_url),),
            archive=(ArchiveDestination(name=f"pacs-{mark}"),),
            oru=(OruDestination(name=f"ris-{mark}", address=f"127.0.0.1:{ris.port}"),),
            webhook=(WebhookDestination(name=f"web-{mark}", url=web.url, secret_file=tmp_path / "secret"),),
        ),
        discrepancies=DiscrepancySettings(receiver=f"web-{mark}"),
    )


class Bench:
    """What stands on the log of one study."""

    def __init__(self, log: KafkaLog, settings: Settings, study: Study) -> None:
        self.log, self.settings, self.study = log, settings, study

    async def begun(self) -> None:
        """Whoever is new has its place on every partition: what is written from now on is for it."""
        for name in self.settings.destinations.names[1:]:
            await begun(self.settings.kafka.bootstrap, f"deliver.{name}", RESULTS.partitions)

    async def says(self, findings: Findings) -> None:
        """And every destination has acknowledged it."""
        key = self.study.uid.encode("ascii")
        values = ((RESULTS, findings.model_dump_json().encode("utf-8")), (FINDINGS, bundle_of(findings, SITE)))
        await self.log.append([Outgoing(topic.name, key, value) for topic, value in values])
        waiting = set(self.settings.destinations.names)
        async with asyncio.timeout(60):
            async for record in unbroken(self.log, DELIVERIES.name):
                event = DeliveryAcknowledged.model_validate_json(record.value)
                if (event.study_instance_uid, event.sequence) == (self.study.uid, findings.subject.sequence):
                    assert event.outcome == "stored"
                    waiting -= {event.destination}
                if not waiting:
                    return


async def test_what_was_said_and_what_was_recalled_reaches_all(
    settings: Settings, proxy: FaultProxy, orthanc_url: str, ris: RisServer, web: WebhookServer
) -> None:
    study, archive, server = Study(), ArchiveSide(orthanc_url, proxy), fhir_server_for(settings)
    await archive.expects(study)
    place = study.uid, CHEST_RADIOGRAPH_FINDINGS
    stop = asyncio.Event()
    async with KafkaLog(settings.kafka.bootstrap) as log:
        running = asyncio.create_task(deliver(settings, stop, Health(settings.run_folder, "deliver")))
        bench = Bench(log, settings, study)
        await bench.begun()
        await bench.says(study.found(4))
        report = await server.read(f"DiagnosticReport/{report_id(study.uid, SITE)}")
        assert report is not None
        assert report["status"] == "partial"
        assert await archive.says(study) == said(4)
        (filed,) = [one for one in ris.ris.reports.values() if one.value("113014") == study.uid]
        assert filed.results()
        assert web.held[place] == study.found(4)

        await bench.says(study.not_analysed(4 + RECALLED, NotAnalysedReason.MODEL_RECALLED))
        report = await server.read(f"DiagnosticReport/{report_id(study.uid, SITE)}")
        assert report is not None
        assert report["status"] == "cancelled"
        assert await archive.says(study) == WITHDRAWN
        assert filed.results() == []
        assert web.held[place].not_analysed is not None

        await log.append([emit(DISCREPANCIES, study.uid, escalated(study), None)])
        await asyncio.to_thread(
            web.wait_for, lambda web: any(one.headers["ce-type"] == escalated(study).TYPE for one in web.taken.values())
        )
        stop.set()
        async with asyncio.timeout(60):
            await running
    await server.close()


def escalated(study: Study) -> DiscrepancyEscalated:
    of = study.found(5)
    return DiscrepancyEscalated(
        id=identity("test-escalated", study.uid),
        time=of.subject.triggered_at,
        discrepancy_id=identity("test-discrepancy", study.uid),
        study_instance_uid=study.uid,
        service=of.service,
        analysis_id=of.analysis_id,
    )
