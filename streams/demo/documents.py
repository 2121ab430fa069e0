"""The documents that an archive and a RIS would be sent, were they among the destinations: DICOM SR and HL7 ORU^R01."""

from __future__ import annotations

import asyncio
from datetime import tzinfo
from pathlib import Path

from connectors.dicomweb_services import DicomWebServices
from connectors.reporting.archive_holdings import evidence, holdings
from schemas.findings import Findings
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.structured_report import structured_report
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from streams.settings import Settings
from streams.wiring.clients import archive_access

STRUCTURED_REPORT = "structured-report.dcm"
ORU = "oru.hl7"


async def write_documents(settings: Settings, findings: Findings, folder: Path) -> None:
    """Of findings, with the header that the archive holds. Raises as `connectors.reporting.archive_holdings.evidence`."""
    archive = settings.archive
    access = archive_access(settings)
    services = DicomWebServices(
        archive.dicomweb_url, timeout_s=archive.timeout_s, size_limit=archive.size_limit, pool_size=1, access=access
    )
    try:
        there = await holdings(services, findings.subject.study_instance_uid, findings.service, None)
        about = await evidence(services, there, findings)
    finally:
        services.close()
    await asyncio.to_thread(render, findings, about, settings.site.time_zone, folder)


def render(findings: Findings, about: Evidence, zone: tzinfo, folder: Path) -> None:
    """Writes both into `folder`."""
    (folder / STRUCTURED_REPORT).write_bytes(structured_report(findings, about, zone=zone))
    (folder / ORU).write_bytes(b"".join(oru_messages(findings, None, OruTerms())))
