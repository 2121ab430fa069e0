"""Structured reports and rejection notes of all examples, judged by programs that are not ours: DCMTK's readers, dciodvfy
(dicom3tools) with its own tables of the standard's IODs, and an Orthanc that stores them."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from connectors.dicomweb import DicomWebArchive
from schemas.findings import DEMONSTRATION, Findings, NotAnalysedReason
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.renderings.dicom.document import document_of
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.rejection_note import note_of, rejection_note
from schemas.renderings.dicom.structured_report import structured_report
from schemas.study_events import ImageReference
from tests.conftest import absent
from tests.contract.example_evidence import evidence_of, header
from tests.contract.example_findings import every_state, not_analysed, subject, two_findings
from tests.contract.orthanc_archive import orthanc_archive

pytestmark = pytest.mark.service

_ANALYSED = {name: said for name, said in every_state().items() if said.not_analysed is None}
#: of this test alone
_STUDY = StudyInstanceUID("1.2.826.0.1.3680043.10.511.77.1")


def _program(name: str) -> str:
    """Of the venv (dicom3tools), else of the machine (DCMTK)."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        absent(name)
    return str(found)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the name of the state; notes are "note-<reason>". One has predecessors."""
    folder = tmp_path_factory.mktemp("documents")
    before = [document_of(two_findings())]
    written = {name: structured_report(said, evidence_of(said)) for name, said in _ANALYSED.items()}
    later = two_findings(subject(2))
    written["in-chinese"] = structured_report(later, evidence_of(later), language="zh-TW")
    written["with-predecessor"] = structured_report(later, evidence_of(later), predecessors=before)
    for reason in NotAnalysedReason:
        written[f"note-{reason.value}"] = rejection_note(not_analysed(reason, subject(4)), Evidence(header(), ()), before)
    for name, part10 in written.items():
        (folder / f"{name}.dcm").write_bytes(part10)
    return {name: folder / f"{name}.dcm" for name in written}


def _ran(*command: str | Path) -> str:
    """Its whole output, on which nothing is an error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_dcmtk_takes_them_for_files_and_documents(documents: dict[str, Path], tmp_path: Path) -> None:
    """dsrdump reads the tree with DCMTK's own rules: which items a SOP class may have, and how they may relate."""
    ftest, dump, to_xml = _program("dcmftest"), _program("dsrdump"), _program("dsr2xml")
    for name, file in documents.items():
        assert _ran(ftest, file).startswith("yes"), name
        dumped = _ran(dump, "--print-long-values", "--print-all-codes", file)
        assert "E: " not in dumped, f"{name}: {dumped}"
        assert DEMONSTRATION in dumped or name == "in-chinese", name
        assert ("UNVERIFIED" in dumped and "PRELIMINARY" in dumped) or name.startswith("note-"), dumped
        xml = tmp_path / f"{name}.xml"
        assert "E: " not in _ran(to_xml, file, xml), name
        assert "<report" in xml.read_text("utf-8"), name


def test_dciodvfy_finds_no_error(documents: dict[str, Path]) -> None:
    """Nothing is excused. What it warns of: designators of our own, and a Study ID that the archive may lack."""
    verify = _program("dciodvfy")
    found = {name: [line for line in _ran(verify, file).splitlines() if "Error" in line] for name, file in documents.items()}
    assert {name: errors for name, errors in found.items() if errors} == {}


def test_dciodvfy_would_find_an_error(documents: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    shutil.copy(documents["present"], broken)
    _ran(_program("dcmodify"), "-nb", "-e", "VerificationFlag", broken)
    verified = subprocess.run([_program("dciodvfy"), broken], capture_output=True, text=True, timeout=60)
    assert "Error" in verified.stdout + verified.stderr


@pytest.fixture
async def archive(orthanc_url: str) -> AsyncIterator[DicomWebArchive]:
    archive = orthanc_archive(orthanc_url)
    yield archive
    archive.close()


async def test_orthanc_stores_all_and_gives_them_back(archive: DicomWebArchive) -> None:
    """All states of one study: each is another instance, in the series of its service."""
    states = [_of_study(said) for said in _ANALYSED.values()]
    sent = {document_of(said): structured_report(said, evidence_of(said)) for said in states}
    withdrawn = _of_study(not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(8)))
    note = note_of(withdrawn, tuple(sent))
    await archive.store([*sent.values(), rejection_note(withdrawn, Evidence(header(), ()), tuple(sent))])
    held = await archive.describe(_STUDY)
    assert held.instances == {one.sop_instance_uid for one in (*sent, note)}
    assert (held.images, held.rejected) == ((), frozenset())  # none of ours makes another revision of the study (rule 11)
    for document, part10 in [*sent.items()][:3]:
        reference = ImageReference(
            sop_instance_uid=SOPInstanceUID(document.sop_instance_uid),
            sop_class_uid=document.sop_class_uid,
            series_instance_uid=SeriesInstanceUID(document.series_instance_uid),
        )
        back = dcmread(BytesIO(await archive.instance(_STUDY, reference)))
        assert back == dcmread(BytesIO(part10))


def _of_study(said: Findings) -> Findings:
    about = said.subject.model_copy(update={"study_instance_uid": _STUDY})
    return said.model_copy(update={"subject": about})
