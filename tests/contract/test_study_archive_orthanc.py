from collections.abc import Iterator

import pytest

from connectors.dicomweb import DicomWebArchive
from tests.contract.orthanc_archive import orthanc_archive
from tests.contract.study_archive import StudyArchiveContract


@pytest.mark.service
class TestOrthanc(StudyArchiveContract):
    @pytest.fixture
    def archive(self, orthanc_url: str) -> Iterator[DicomWebArchive]:
        archive = orthanc_archive(orthanc_url)
        yield archive
        archive.close()
