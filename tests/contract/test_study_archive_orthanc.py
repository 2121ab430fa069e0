from collections.abc import Iterator

import pytest

from connectors.dicomweb import DicomWebArchive
from tests.contract.study_archive import StudyArchiveContract


@pytest.mark.service
class TestOrthanc(StudyArchiveContract):
    @pytest.fixture
    def archive(self, orthanc_url: str) -> Iterator[DicomWebArchive]:
        archive = DicomWebArchive(
            f"{orthanc_url}/dicom-web",
            timeout_s=20,
            size_limit=64 * 1024 * 1024,
            pool_size=2,
            default_accession_assigner="SITE",
            default_patient_assigner="SITE",
        )
        yield archive
        archive.close()
