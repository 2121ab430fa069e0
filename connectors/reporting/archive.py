"""An archive that is told each state of a study as DICOM documents in it: the port ReportingSystem over DICOMweb.

Findings are a structured report; what takes the place of another one names it as its predecessor. What holds no longer is named
by a rejection note (IHE RAD, Imaging Object Change Management). What the archive holds is asked, not remembered: whatever was
lost on the way, the next telling ends in the same documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, tzinfo
from functools import partial

from connectors.archive_access import ArchiveAccess
from connectors.dicomweb_services import DicomWebServices
from connectors.reporting.archive_holdings import Holdings, Report, evidence, evidence_of, holdings
from schemas.errors import AccessRefused, ArchiveUnavailable, InvalidResource
from schemas.findings import Findings
from schemas.ports import Acknowledgement
from schemas.renderings.dicom.document import Document, document_of
from schemas.renderings.dicom.rejection_note import note_of, rejection_note
from schemas.renderings.dicom.structured_report import structured_report
from schemas.renderings.labels import Language

_STEP = "archive"


class ArchiveReceiver:
    """`url` ends before "/studies". `timeout_s` limits each exchange with the archive, `size_limit` each answer in bytes; `zone` is
    that of the times in our documents, where the archive states none of the study; `language` that of their sentences."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        size_limit: int,
        pool_size: int = 2,
        access: ArchiveAccess = ArchiveAccess(),
        zone: tzinfo = UTC,
        language: Language = "en",
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._services = DicomWebServices(url, timeout_s=timeout_s, size_limit=size_limit, pool_size=pool_size, access=access)
        self._rendering = ThreadPoolExecutor(1, thread_name_prefix="archive-rendering")
        self._zone = zone
        self._language = language

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        """See ReportingSystem.tell. StudyIncomplete: the archive does not hold an image that was analysed."""
        study, sequence = findings.subject.study_instance_uid, findings.subject.sequence
        told = None if held is None or held.not_analysed is not None else Report(document_of(held), held.subject.sequence)
        there = await holdings(self._services, study, findings.service, told)
        if sequence < there.last:
            return Acknowledgement(f"studies/{study}", superseded=True)
        if findings.not_analysed is not None:
            await self._withdraw(findings, there)
            return Acknowledgement(f"studies/{study}: no report of {findings.service} stands there")
        document = document_of(findings)
        if not there.holds(document):
            about = await evidence(self._services, there, findings)
            await self._store(document, partial(structured_report, findings, about, predecessors=there.standing[-1:]))
        return Acknowledgement(f"studies/{study}/series/{document.series_instance_uid}/instances/{document.sop_instance_uid}")

    async def probe(self) -> None:
        """See ReportingSystem.probe. Whether it lets us store, only storing would tell."""
        try:
            await self._services.answers()
        except ArchiveUnavailable as error:
            if self._services.refuses_everything:
                raise AccessRefused(error.step, error.reference, error.reason) from None
            raise

    async def close(self) -> None:
        """Waits for no thread: each ends by its own time limit."""
        self._services.close()
        self._rendering.shutdown(wait=False, cancel_futures=True)

    async def _withdraw(self, findings: Findings, there: Holdings) -> None:
        """All that is not rejected yet, what was replaced too: it is no less wrong. Of nothing nothing is stored."""
        standing = there.standing
        if standing:
            about = await evidence_of(self._services, there, standing[-1])
            await self._store(note_of(findings, standing), partial(rejection_note, findings, about, standing))

    async def _store(self, document: Document, render: Callable[..., bytes]) -> None:
        reference = f"document {document.sop_instance_uid}"
        rendered = partial(render, zone=self._zone, language=self._language)
        try:
            instance = await asyncio.get_running_loop().run_in_executor(self._rendering, rendered)
        except ValueError:  # of a library, it may quote a header
            raise InvalidResource(_STEP, reference, "no document can be made of it") from None
        await self._services.store([instance], reference)
