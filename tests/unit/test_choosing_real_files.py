"""Every radiograph at hand, and what the rules decide on it with the committed model's card."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file

from models.card import read_card
from schemas.findings import NotAnalysed, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from streams.settings import Settings
from streams.steps.choosing import StudyHeaders, choose
from streams.wiring.models import intended_use
from tests.contract.fake_study_archive import FakeStudyArchive

BODY_PART, MODALITY = NotAnalysedReason.WRONG_BODY_PART, NotAnalysedReason.WRONG_MODALITY

SHARED: dict[str, NotAnalysedReason | None] = {
    "AIHCND_C2_Starter__test1.dcm": None,  # secondary capture without Image Type, study text "No Finding"
    "AIHCND_C2_Starter__test2.dcm": None,
    "AIHCND_C2_Starter__test5.dcm": MODALITY,  # says CT
    "dicom-test-files__RG2_JPLL.dcm": BODY_PART,
    "dicom-test-files__RG2_RLE.dcm": BODY_PART,
    "pylibjpeg-data__966_fixed.dcm": None,  # For Processing class, FOR PRESENTATION, laterality R
    "pylibjpeg-data__RG1_JLSN.dcm": None,
    "simpleitk__cxr.dcm": None,  # no view, POST_PROCESSED
}
PYDICOM: dict[str, NotAnalysedReason | None] = {
    "RG1_UNCR.dcm": None,
    "RG1_UNCI.dcm": None,
    "RG1_J2KR.dcm": None,
    "RG1_J2KI.dcm": None,
    "RG3_UNCR.dcm": BODY_PART,
    "RG3_UNCI.dcm": BODY_PART,
    "RG3_J2KR.dcm": BODY_PART,
    "RG3_J2KI.dcm": BODY_PART,
    "chrJapMulti.dcm": None,
    "chrKoreanMulti.dcm": None,
    "mlut_18.dcm": MODALITY,
}


async def _decision(file: Path) -> NotAnalysedReason | None:
    use = intended_use(read_card(Path(__file__).parents[2] / "models/packages/chest-nodule/1"), Settings())
    header = pydicom.dcmread(file, stop_before_pixels=True)
    archive = FakeStudyArchive()
    await archive.store([file.read_bytes()])
    study = await archive.describe(StudyInstanceUID(header.StudyInstanceUID))
    answer = choose(study.images, use, StudyHeaders(study.patient_age_years, study.study_description))
    return answer.reason if isinstance(answer, NotAnalysed) else None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "reason"), SHARED.items())
async def test_the_shared_files(shared_data: Path, name: str, reason: NotAnalysedReason | None) -> None:
    assert await _decision(shared_data / "dicom" / name) is reason


def test_no_shared_file_is_forgotten(shared_data: Path) -> None:
    assert {file.name for file in (shared_data / "dicom").glob("*.dcm")} == SHARED.keys()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "reason"), PYDICOM.items())
async def test_the_files_of_pydicom(name: str, reason: NotAnalysedReason | None) -> None:
    found = get_testdata_file(name, read=False, download=False) or get_charset_files(name)[0]
    assert await _decision(Path(str(found))) is reason
