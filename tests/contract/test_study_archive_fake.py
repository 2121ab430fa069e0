import pytest

from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.study_archive import StudyArchiveContract


class TestFakeStudyArchive(StudyArchiveContract):
    @pytest.fixture
    def archive(self) -> FakeStudyArchive:
        return FakeStudyArchive()
