"""One finding, every destination: each holds it in its own idiom, and its withdrawal when the order is cancelled."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pydicom
import pytest
import pytest_asyncio
import requests
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.destination_settings import ArchiveDestination, DestinationSettings, OruDestination, WebhookDestination
from streams.settings import Settings, as_environment
from tests.contract.oru_ris import Report, Ris, ris_server
from tests.contract.webhook_server import SECRET, WebhookServer, webhook_server
from tests.end_to_end.conftest import Hospital
from tests.service.positions import begun

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]

#: beside the FHIR server
DESTINATIONS = ("pacs", "ris", "portal")


@dataclass
class Receivers:
    """Those around a hospital whose engine was told of them."""

    hospital: Hospital
    ris: Ris
    web: WebhookServer

    async def first_told(self, accession: str) -> Findings:
        """Of a study with an order and a chest radiograph, both new."""
        await self.hospital.order(accession)
        await self.hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])
        return await self.told(study_uid_of(accession))

    async def told(self, study: StudyInstanceUID, sequence: int = 1) -> Findings:
        """The latest state of the study, once every destination has it."""
        for destination in ("fhir", *DESTINATIONS):
            there = partial(self._at, destination, study, sequence)
            await self.hospital.until(f"state {sequence} of {study} at {destination}", there)
        return Findings.model_validate_json(self.hospital.of(topics.RESULTS, study)[-1].value)

    def _at(self, destination: str, study: StudyInstanceUID, sequence: int, _: object) -> bool:
        told = [json.loads(one.value) for one in self.hospital.of(topics.DELIVERIES, f"{destination}|{study}")]
        return any(one["sequence"] >= sequence and one["outcome"] == "stored" for one in told)

    def report(self, accession: str) -> Report:
        """The one that the RIS files under the accession number."""
        (found,) = [one for one in self.ris.reports.values() if accession in str(one.obr)]
        return found

    async def documents(self, study: StudyInstanceUID, sop_class_uid: str) -> list[pydicom.Dataset]:
        """Of ours in the archive, by Orthanc's own API."""

        def read() -> list[pydicom.Dataset]:
            url, query = self.hospital.engine.services.orthanc_url, {"Level": "Instance", "Query": {"StudyInstanceUID": str(study)}}
            found = requests.post(f"{url}/tools/find", json=query, timeout=20).json()
            files = [requests.get(f"{url}/instances/{one}/file", timeout=20).content for one in found]
            return [one for one in map(pydicom.dcmread, map(io.BytesIO, files)) if one.SOPClassUID == sop_class_uid]

        return await asyncio.to_thread(read)


async def _restarted_with(hospital: Hospital, settings: Settings) -> None:
    """Its role `deliver`, killed and started again by its supervisor, which reads other settings now."""
    supervisor = hospital.engine.supervisor
    old, restarts = supervisor.processes["deliver"], supervisor.restarts["deliver"]
    supervisor.environment.update(as_environment(settings))
    os.kill(old.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while supervisor.processes["deliver"] is old or supervisor.restarts["deliver"] == restarts:
            await asyncio.sleep(0.05)  # its supervisor gives no event
    await supervisor.ready(60)


@asynccontextmanager
async def _told_of(hospital: Hospital, destinations: DestinationSettings) -> AsyncIterator[None]:
    """Its role `deliver` tells these for the length of the block."""
    before = hospital.engine.settings
    try:
        await _restarted_with(hospital, before.model_copy(update={"destinations": destinations}))
        yield
    finally:
        await _restarted_with(hospital, before)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def receivers(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receivers]:
    secret = tmp_path_factory.mktemp("portal") / "secret"
    secret.write_text(SECRET)
    async with ris_server() as ris:
        with webhook_server() as web:
            named = DestinationSettings(
                archive=(ArchiveDestination(name="pacs"),),
                oru=(OruDestination(name="ris", address=f"127.0.0.1:{ris.port}"),),
                webhook=(WebhookDestination(name="portal", url=web.url, secret_file=secret),),
            )
            async with _told_of(hospital, named):
                for name in DESTINATIONS:
                    await begun(hospital.engine.settings.kafka.bootstrap, f"deliver.{name}", topics.RESULTS.partitions)
                yield Receivers(hospital, ris.ris, web)


async def test_every_destination_holds_the_finding_and_then_its_withdrawal(hospital: Hospital, receivers: Receivers) -> None:
    accession = "E2E-EVERYWHERE"
    study = study_uid_of(accession)
    found = await receivers.first_told(accession)
    assert found.findings
    assert (await hospital.report(accession))["status"] == "partial"
    (document,) = await receivers.documents(study, Comprehensive3DSRStorage)
    drawn = [one for one in document.iterall() if one.keyword == "GraphicType" and one.value == "POLYLINE"]
    assert len(drawn) == len(found.findings)
    assert (document.VerificationFlag, document.PatientID, document.AccessionNumber) == ("UNVERIFIED", "P-1", accession)
    assert receivers.report(accession).status == "R"
    assert receivers.report(accession).results()
    assert receivers.web.held[(study, found.service)] == found

    await hospital.order(accession, order_control="CA")
    withdrawn = await receivers.told(study, found.subject.sequence + 1)
    assert withdrawn.not_analysed is not None
    assert withdrawn.not_analysed.reason is NotAnalysedReason.ORDER_CANCELLED
    assert (await hospital.report(accession))["status"] == "cancelled"
    (note,) = await receivers.documents(study, KeyObjectSelectionDocumentStorage)
    assert document.SOPInstanceUID in [one.value for one in note.iterall() if one.keyword == "ReferencedSOPInstanceUID"]
    assert not receivers.report(accession).results()
    assert receivers.web.held[(study, found.service)] == withdrawn
    assert not [record for record in hospital.of(topics.DEAD_LETTERS) if record.key == study.encode()]


async def test_our_own_documents_are_no_news(hospital: Hospital, receivers: Receivers) -> None:
    accession = "E2E-OWN-DOCS"
    study = study_uid_of(accession)
    found = await receivers.first_told(accession)

    def counted_with_ours(_: object) -> bool:
        events = [StudyCompleted.model_validate_json(record.value) for record in hospital.of(topics.STUDIES, study)]
        return any((event.instance_count, event.revision) == (2, found.subject.revision) for event in events)

    await hospital.until("the study counted with our report in it", counted_with_ours)
    # what comes behind it on the same way
    await hospital.order(accession, order_control="CA")
    withdrawn = await receivers.told(study, found.subject.sequence + 1)
    said = [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]
    assert all(one in (found, withdrawn) for one in said)
    asked = [AnalysisRequested.model_validate_json(record.value) for record in hospital.of(topics.REQUESTS, study)]
    assert len({one.id for one in asked}) == 1
