from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.reporting.archive import ArchiveReceiver
from schemas.errors import StudyIncomplete
from schemas.findings import NotAnalysedReason
from tests.contract.archive_receiver import ArchiveSide
from tests.contract.reporting_system import WITHDRAWN, ReportingSystemContract, Study, said
from tests.service.fault_proxy import FaultProxy, fault_proxy


@pytest.fixture
def proxy(orthanc_url: str) -> Iterator[FaultProxy]:
    with fault_proxy(orthanc_url) as proxy:
        yield proxy


@pytest.mark.service
class TestArchive(ReportingSystemContract):
    @pytest.fixture
    async def system(self, proxy: FaultProxy) -> AsyncIterator[ArchiveReceiver]:
        system = ArchiveReceiver(f"{proxy.url}/dicom-web", timeout_s=20, size_limit=1 << 24)
        yield system
        await system.close()

    @pytest.fixture
    def receiver(self, orthanc_url: str, proxy: FaultProxy) -> ArchiveSide:
        return ArchiveSide(orthanc_url, proxy)

    async def test_it_is_of_the_patient_in_the_archive(self, system: ArchiveReceiver, receiver: ArchiveSide, study: Study) -> None:
        await system.tell(study.found(4), None)
        (report,) = receiver.reports(study)
        assert (report.PatientID, str(report.PatientName)) == ("OLD-4711", "Wang^XiaoDong=王^小東")
        assert report.StudyInstanceUID == study.uid
        assert (report.AccessionNumber, report.StudyDate) == ("A1", "20260101")

    async def test_a_newer_report_names_the_one_before(self, system: ArchiveReceiver, receiver: ArchiveSide, study: Study) -> None:
        await system.tell(study.found(4), None)
        (first,) = receiver.reports(study)
        await system.tell(study.absent(8), study.found(4))
        (second,) = [report for report in receiver.reports(study) if report.SOPInstanceUID != first.SOPInstanceUID]
        assert second.InstanceNumber == 8
        assert receiver.replaced(study) == {first.SOPInstanceUID}

    async def test_withdrawal_is_of_what_was_replaced_too(
        self, system: ArchiveReceiver, receiver: ArchiveSide, study: Study
    ) -> None:
        states = (study.found(4), study.absent(8), study.not_analysed(12, NotAnalysedReason.IDENTITY_MISMATCH))
        for state in states:
            await system.tell(state, None)
        assert receiver.rejected(study) == {report.SOPInstanceUID for report in receiver.reports(study)}
        assert len(await receiver.holds(study)) == 3

    async def test_withdrawal_of_nothing_stores_nothing(self, system: ArchiveReceiver, receiver: ArchiveSide, study: Study) -> None:
        answer = await system.tell(study.not_analysed(4, NotAnalysedReason.WRONG_VIEW), None)
        assert "no report" in answer.reference
        assert await receiver.holds(study) == frozenset()

    async def test_a_study_that_the_archive_does_not_hold(self, system: ArchiveReceiver, receiver: ArchiveSide) -> None:
        """There may be a moment between the deletion and its notice."""
        study = Study()
        with pytest.raises(StudyIncomplete):
            await system.tell(study.found(4), None)
        await system.tell(study.not_analysed(8, NotAnalysedReason.NO_IMAGE), study.found(4))
        assert await receiver.holds(study) == frozenset()

    async def test_what_was_replaced_does_not_come_back(self, system: ArchiveReceiver, receiver: ArchiveSide, study: Study) -> None:
        """A telling that hung somewhere while a later one was done."""
        await system.tell(study.found(4), None)
        await system.tell(study.absent(8), study.found(4))
        once = await receiver.holds(study)
        for late in (study.found(4), study.absent(5), study.not_analysed(4, NotAnalysedReason.ORDER_CANCELLED)):
            assert (await system.tell(late, None)).superseded
        assert await receiver.holds(study) == once
        assert await receiver.says(study) == said(8)
        await system.tell(study.not_analysed(12, NotAnalysedReason.ORDER_CANCELLED), None)
        assert (await system.tell(study.found(4), None)).superseded
        assert (await system.tell(study.found(10), None)).superseded
        assert await receiver.says(study) == WITHDRAWN
