"""A real archive, seen through a proxy that can stand in its way: both sides of the port ReportingSystem, for its contract."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pydicom
import requests
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage

from connectors.dicom_part10 import multipart
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.identifiers import StudyInstanceUID
from schemas.renderings.dicom.document import series_of
from tests.contract.example_images import part10, radiograph
from tests.contract.reporting_system import NOTHING, WITHDRAWN, Study, said, sequence_at
from tests.service.fault_proxy import Fault, FaultProxy

_TIMEOUT_S = 30


def image_of(study: Study) -> Dataset:
    """The one image of the study, another patient's than the messages say: an archive often keeps the old number."""
    return radiograph(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=str(study.uid),
        SOPInstanceUID=str(study.image),
        PatientID="OLD-4711",
        PatientName="Wang^XiaoDong=王^小東",
    )


class ArchiveSide:
    """`orthanc_url` is asked directly, whatever the proxy before it does: by Orthanc's own API, not by what is tested."""

    def __init__(self, orthanc_url: str, proxy: FaultProxy) -> None:
        self._url = orthanc_url
        self._proxy = proxy

    async def expects(self, study: Study) -> None:
        body, content_type = multipart([part10(image_of(study))])
        url, headers = f"{self._url}/dicom-web/studies", {"Content-Type": content_type, "Accept": "application/dicom+json"}
        requests.post(url, data=body, headers=headers, timeout=_TIMEOUT_S).raise_for_status()

    async def says(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> str:
        reports, gone = self.reports(study, service), self.rejected(study) | self.replaced(study)
        live = [report for report in reports if report.SOPInstanceUID not in gone]
        assert len(live) <= 1, "two reports of one service stand there"
        if not live:
            return WITHDRAWN if reports else NOTHING
        return self._said_by(live[0])

    async def holds(self, study: Study) -> frozenset[str]:
        return frozenset(str(document.SOPInstanceUID) for document in self.documents(study.uid))

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        # closing connections would be tried again for seconds: the service tests do that
        self._proxy.fault = Fault("answer", 500)
        try:
            yield
        finally:
            self._proxy.fault = None

    @asynccontextmanager
    async def refusing(self, study: Study) -> AsyncIterator[None]:
        self._proxy.fault = Fault("answer", 403, method="POST", about=str(study.uid))
        try:
            yield
        finally:
            self._proxy.fault = None

    def documents(self, study: StudyInstanceUID) -> list[Dataset]:
        """All that is no image."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": str(study)}}
        found = requests.post(f"{self._url}/tools/find", json=query, timeout=_TIMEOUT_S).json()
        files = [requests.get(f"{self._url}/instances/{name}/file", timeout=_TIMEOUT_S).content for name in found]
        read = [pydicom.dcmread(io.BytesIO(file)) for file in files]
        return [document for document in read if document.SOPClassUID in _DOCUMENTS]

    def reports(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> list[Dataset]:
        series = series_of("sr", study.uid, service)
        return [document for document in self.documents(study.uid) if document.SeriesInstanceUID == series]

    def rejected(self, study: Study) -> frozenset[str]:
        """What the rejection notes of the study name."""
        return self._named(study, "CurrentRequestedProcedureEvidenceSequence", str(KeyObjectSelectionDocumentStorage))

    def replaced(self, study: Study) -> frozenset[str]:
        """What reports of the study name as their predecessors."""
        return self._named(study, "PredecessorDocumentsSequence", str(Comprehensive3DSRStorage))

    def _named(self, study: Study, keyword: str, sop_class_uid: str) -> frozenset[str]:
        """PS3.3 table C.17-3, Hierarchical SOP Instance Reference Macro."""
        return frozenset(
            str(reference.ReferencedSOPInstanceUID)
            for document in self.documents(study.uid)
            if document.SOPClassUID == sop_class_uid
            for of_study in document.get(keyword, ())
            for series in of_study.ReferencedSeriesSequence
            for reference in series.ReferencedSOPSequence
        )

    def _said_by(self, report: Dataset) -> str:
        written = datetime.strptime(f"{report.ContentDate}{report.ContentTime}", "%Y%m%d%H%M%S.%f").replace(tzinfo=UTC)
        sequence = sequence_at(written)
        assert report.InstanceNumber == sequence
        return said(sequence, after_verification="After verification" in _words(report))


def _words(report: Dataset) -> str:
    return " ".join(element.value for element in report.iterall() if element.keyword == "TextValue")


_DOCUMENTS = {Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage}
