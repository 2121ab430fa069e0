"""Which instance of which series a structured report is; and of what there is none."""

from __future__ import annotations

import pytest

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from schemas.renderings.dicom.document import document_of
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import evidence_of, header
from tests.contract.example_findings import (
    MODEL,
    after_verification,
    devices_alone,
    finding,
    findings,
    not_analysed,
    subject,
    two_findings,
    two_images,
)
from tests.contract.sr_reader import read_report
from tests.unit.structured_reports import dataset_of

_COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def test_the_same_findings_are_the_same_bytes() -> None:
    again = Findings.model_validate_json(two_findings().model_dump_json())
    assert structured_report(two_findings(), evidence_of(again)) == structured_report(again, evidence_of(again))


def test_it_is_the_document_that_is_announced() -> None:
    document, written = document_of(two_findings()), dataset_of()
    assert written.SOPClassUID == written.file_meta.MediaStorageSOPClassUID == document.sop_class_uid == _COMPREHENSIVE_3D_SR
    assert written.SOPInstanceUID == written.file_meta.MediaStorageSOPInstanceUID == document.sop_instance_uid
    assert written.SeriesInstanceUID == document.series_instance_uid
    assert written.StudyInstanceUID == two_findings().subject.study_instance_uid


@pytest.mark.parametrize(
    "other",
    [
        findings(None, finding(1)),
        two_findings(subject(2)),
        after_verification(two_findings()),
        two_findings().model_copy(update={"model": MODEL.model_copy(update={"weights_sha256": "c" * 64})}),
    ],
    ids=["fewer findings", "another sequence", "after verification", "other weights"],
)
def test_whatever_differs_is_another_instance_of_the_same_series(other: Findings) -> None:
    assert document_of(other).sop_instance_uid != document_of(two_findings()).sop_instance_uid
    assert document_of(other).series_instance_uid == document_of(two_findings()).series_instance_uid


def test_each_study_and_service_has_a_series_of_its_own() -> None:
    elsewhere = two_findings(subject(study=StudyInstanceUID("1.2.3")))
    series = {document_of(said).series_instance_uid for said in (two_findings(), elsewhere, devices_alone())}
    assert len(series) == 3


def test_the_identity_never_changes() -> None:
    """Notes that are written years later name what was stored today."""
    said = Findings.model_validate(
        {
            "analysis_id": "5c0ff4e4-6f0d-5f0e-9a4c-9d7a3c1d2e10",
            "subject": {
                "study_instance_uid": "1.2.3",
                "revision": "a" * 64,
                "sequence": 4,
                "triggered_at": "2026-11-24T08:30:00Z",
            },
            "model": {"name": "chest-nodule", "version": "1", "weights_sha256": "b" * 64},
            "images": [{"sop_instance_uid": "1.2.3.4", "pixel_sha256": "c" * 64, "rows": 8, "columns": 8, "probability": 0.25}],
            "threshold": 0.5,
        }
    )
    document = document_of(said)
    assert document.sop_instance_uid == "2.25.45773562343662955818285666024616911400"
    assert document.series_instance_uid == "2.25.108793811893085544606682692944565204808"


def test_what_was_not_analysed_has_no_report() -> None:
    said = not_analysed(NotAnalysedReason.WRONG_VIEW)
    with pytest.raises(ValueError, match="not analysed"):
        document_of(said)
    with pytest.raises(ValueError, match="not analysed"):
        structured_report(said, evidence_of(said))


def test_an_image_that_the_archive_does_not_hold_any_more_is_told() -> None:
    said = two_images()
    held = Evidence(header(), evidence_of(said).images[:1])
    with pytest.raises(ValueError, match="the archive told nothing of the analysed image"):
        structured_report(said, held)


def test_an_image_of_a_retired_sop_class_is_told() -> None:
    said = two_findings()
    retired = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1"}
    images = tuple(image.model_copy(update=retired) for image in evidence_of(said).images)
    with pytest.raises(ValueError, match="retired or private"):
        structured_report(said, Evidence(header(), images))


def test_predecessors_are_named() -> None:
    before = [document_of(findings()), document_of(findings(subject(2)))]
    report = read_report(structured_report(two_findings(subject(3)), evidence_of(two_findings()), predecessors=before))
    study = two_findings().subject.study_instance_uid
    named = [(study, one.series_instance_uid, one.sop_class_uid, one.sop_instance_uid) for one in before]
    assert sorted(report.predecessors) == sorted(named)
