"""Our own documents in a real Orthanc are no news (rule 11): the revision stays, and nothing is asked of the model again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from connectors.case_store import SqlCaseStore
from connectors.dicomweb import DicomWebArchive
from connectors.pacs.orthanc import OrthancChanges
from connectors.reporting.archive import ArchiveReceiver
from schemas.findings import NotAnalysedReason
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.emission import emit
from streams.steps.complete import complete
from streams.topics import NOTICES
from tests.contract.archive_receiver import image_of
from tests.contract.example_images import part10
from tests.contract.example_key_objects import REJECTED_FOR_QUALITY, key_object
from tests.contract.orthanc_archive import orthanc_archive
from tests.contract.reporting_system import Study
from tests.unit.cases import Hospital, said

pytestmark = pytest.mark.service
_DEADLINE_S = 60
_YEARS = 60 * 24 * 365 * 100.0


class Engine:
    """From Orthanc's own notice of the study to what is asked of the model."""

    def __init__(self, orthanc_url: str, cases: SqlCaseStore) -> None:
        self.archive: DicomWebArchive = orthanc_archive(orthanc_url)
        self.study = Study()
        self.hospital = Hospital(cases)
        self._cases = cases
        self._changes = OrthancChanges(orthanc_url, timeout_s=20)
        self._position: str | None = str(requests.get(f"{orthanc_url}/changes?last", timeout=10).json()["Last"])

    async def complete_again(self) -> StudyCompleted:
        """Once Orthanc says that the study is stable."""
        out = emit(NOTICES, self.study.uid, notice := await self._noticed(), None)
        record = Record(Place(NOTICES.name, 0, 1), out.key, out.value, out.headers, notice.time)
        (out,) = await complete(record, archive=self.archive, cases=self._cases, quiet=timedelta(seconds=1))
        return StudyCompleted.model_validate_json(out.value)

    async def asked(self, completed: StudyCompleted) -> list[Outgoing]:
        """At once, and when it has waited for its order long enough."""
        return [*await self.hospital.happens(completed), *await self.hospital.time_passes(_YEARS)]

    async def _noticed(self) -> StudyNoticed:
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                batch = await self._changes.noticed_since(self._position)
                self._position = batch.position
                for notice in batch.notices:
                    if notice.study_instance_uid == self.study.uid:
                        return notice
                await asyncio.sleep(0.2)  # Orthanc is asked: there is no event to await

    def close(self) -> None:
        self._changes.close()
        self.archive.close()


@pytest.fixture
async def engine(orthanc_url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    engine = Engine(orthanc_url, cases)
    yield engine
    engine.close()
    await cases.close()


@pytest.fixture
async def receiver(orthanc_url: str) -> AsyncIterator[ArchiveReceiver]:
    receiver = ArchiveReceiver(f"{orthanc_url}/dicom-web", timeout_s=20, size_limit=1 << 24)
    yield receiver
    await receiver.close()


async def test_reports_and_rejection_notes_of_ours_are_no_news(engine: Engine, receiver: ArchiveReceiver) -> None:
    study, image = engine.study, image_of(engine.study)
    await engine.archive.store([part10(image)])
    first = await engine.complete_again()
    (asked,) = await engine.asked(first)
    assert isinstance(said(asked), AnalysisRequested)

    await receiver.tell(study.found(4), None)
    await receiver.tell(study.absent(8), study.found(4))
    reported = await engine.complete_again()
    await receiver.tell(study.not_analysed(12, NotAnalysedReason.IDENTITY_MISMATCH), study.absent(8))
    withdrawn = await engine.complete_again()

    assert [reported.instance_count, withdrawn.instance_count] == [3, 4]
    for later in (reported, withdrawn):
        assert (later.revision, later.images, later.rejected_count) == (first.revision, first.images, 0)
        assert (later.accession_number, later.patient, later.study_date) == (
            first.accession_number,
            first.patient,
            first.study_date,
        )
        assert {out.value for out in await engine.asked(later)} <= {asked.value}  # the same request: answered already

    # while a rejection of the image is
    await engine.archive.store([part10(key_object(REJECTED_FOR_QUALITY, [image], study=study.uid))])
    rejected = await engine.complete_again()
    assert (rejected.images, rejected.rejected_count) == ((), 1)
    assert asked.value not in {out.value for out in await engine.asked(rejected)}
