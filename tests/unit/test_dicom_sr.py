"""The structured report as a document: which instance it is, of whom, by whom, and that nobody takes it for a radiologist's."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from schemas.findings import DEMONSTRATION, Findings, NotAnalysedReason
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.renderings.dicom.document import document_of
from schemas.renderings.dicom.evidence import Evidence
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import evidence_of, header
from tests.contract.example_findings import (
    DEVICES,
    MODEL,
    VERIFIED_AT,
    after_verification,
    devices_alone,
    every_state,
    finding,
    findings,
    not_analysed,
    subject,
    two_findings,
    two_images,
)
from tests.contract.sr_reader import read_report

_COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def _written(said: Findings | None = None, held: Evidence | None = None) -> Dataset:
    said = said or two_findings()
    return dcmread(BytesIO(structured_report(said, held or evidence_of(said))))


# ------------------------------------------------------------------------------------------------------- which instance


def test_the_same_findings_are_the_same_bytes() -> None:
    again = Findings.model_validate_json(two_findings().model_dump_json())
    assert structured_report(two_findings(), evidence_of(again)) == structured_report(again, evidence_of(again))


def test_it_is_the_document_that_is_announced() -> None:
    document, written = document_of(two_findings()), _written()
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


# ------------------------------------------------------------------------------------------------------------- of whom


def test_patient_and_study_are_those_of_the_archive() -> None:
    written = _written()
    for element in header():
        assert str(written[element.tag].value) == str(element.value)
    assert written.SpecificCharacterSet == "ISO_IR 192"


def test_what_the_archive_lacks_is_empty() -> None:
    written = _written(held=Evidence(Dataset(), evidence_of(two_findings()).images))
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        assert keyword in written and not written[keyword].value
    assert "IssuerOfPatientID" not in written


def _held(**values: str | list[str]) -> Evidence:
    """Beside the usual header; as read from an archive, so of any form."""
    held = header()
    for keyword, value in values.items():
        held.add(DataElement(Tag(keyword), dictionary_VR(keyword), value, validation_mode=config.IGNORE))
    return Evidence(held, evidence_of(two_findings()).images)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "1970"),
        ("PatientBirthDate", "19701399"),
        ("PatientSex", "X"),
        ("StudyTime", "8 o'clock"),
        ("TimezoneOffsetFromUTC", "+8:00"),
    ],
)
def test_what_is_no_date_time_or_sex_is_left_out(keyword: str, value: str) -> None:
    written = _written(held=_held(**{keyword: value}))
    assert not written.get(keyword)
    assert written.PatientID == "MRN-4711"


@pytest.mark.filterwarnings("ignore:The value length", "ignore:Invalid value")
@pytest.mark.parametrize("value", ["x" * 70, ["A", "B"], "two\nlines"], ids=["too long", "two values", "control character"])
def test_an_identifier_is_repeated_as_it_is(value: str | list[str]) -> None:
    """With another Patient ID archives would file it as another study."""
    written = _written(held=_held(PatientID=value, AccessionNumber=value))
    assert written.PatientID == written.AccessionNumber == value


def test_nothing_of_the_patient_is_logged_or_warned_of(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    """highdicom and pydicom quote what they find strange."""
    caplog.set_level(logging.DEBUG)
    secret = "SECRET" * 30 + "\n"
    held = _held(**dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"), secret))
    assert structured_report(two_findings(), held)
    assert "SECRET" not in caplog.text
    assert not [warning for warning in recwarn if "SECRET" in str(warning.message)]


def test_its_times_are_those_of_the_record() -> None:
    written = _written()
    moment = two_findings().subject.triggered_at
    assert written.ContentDate + written.ContentTime == moment.strftime("%Y%m%d%H%M%S.%f")
    assert written.InstanceCreationDate + written.InstanceCreationTime == moment.strftime("%Y%m%d%H%M%S.%f")
    assert datetime.strptime(str(written.ObservationDateTime), "%Y%m%d%H%M%S%z") == moment.replace(microsecond=0)


@pytest.mark.parametrize("stated", [True, False], ids=["stated by the archive", "by setting"])
def test_its_times_are_in_the_zone_of_the_study(stated: bool) -> None:
    held, said = header(), two_findings()
    if stated:
        held.TimezoneOffsetFromUTC = "+0800"
    zone = UTC if stated else ZoneInfo("Asia/Taipei")
    written = dcmread(BytesIO(structured_report(said, Evidence(held, evidence_of(said).images), zone=zone)))
    local = said.subject.triggered_at + timedelta(hours=8)
    assert written.ContentTime == local.strftime("%H%M%S.%f")
    assert written.get("TimezoneOffsetFromUTC") == ("+0800" if stated else None)


# ------------------------------------------------------------------------------------------------------------- by whom


@pytest.mark.parametrize("name", [name for name, said in every_state().items() if said.not_analysed is None])
def test_nobody_takes_it_for_a_radiologists_report(name: str) -> None:
    said = every_state()[name]
    written = _written(said)
    assert (written.CompletionFlag, written.VerificationFlag, written.PreliminaryFlag) == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in written and "AuthorObserverSequence" not in written
    assert written.SeriesDescription == f"AI, not verified: {said.service}"
    assert "AI" in written.Manufacturer and written.ManufacturerModelName == "AI, not a medical device"
    assert "ReferencedRequestSequence" not in written  # it fulfils no order
    assert DEMONSTRATION in read_report(structured_report(said, evidence_of(said))).sentences


def test_the_observer_is_a_device() -> None:
    report = read_report(structured_report(two_findings(), evidence_of(two_findings())))
    assert report.observer["DCM", "121005"] == "121007"
    assert report.observer["DCM", "121013"] == "AI model chest-nodule 1"
    assert report.observer["DCM", "121012"].startswith("2.25.")


def test_after_verification_is_said() -> None:
    said = after_verification(two_findings())
    report = read_report(structured_report(said, evidence_of(said)))
    (sentence,) = [one for one in report.sentences if one.startswith("After verification: the radiologist's report was")]
    assert VERIFIED_AT.strftime("%Y-%m-%d %H:%M:%S UTC") in sentence
    usual = read_report(structured_report(two_findings(), evidence_of(said)))
    assert not any("erification" in one for one in usual.sentences)


def test_what_was_not_looked_for_is_said() -> None:
    alone, both = devices_alone(), every_state()["devices-and-no-nodule"]
    sentence = "Nodules and masses of the lung were not looked for."
    assert sentence in read_report(structured_report(alone, evidence_of(alone))).sentences
    assert sentence not in read_report(structured_report(both, evidence_of(both))).sentences


def test_it_speaks_chinese_too() -> None:
    said = after_verification(devices_alone(subject(orders=())))
    report = read_report(structured_report(said, evidence_of(said), language="zh-TW"))
    assert report.sentences[0] == "展示用模型，非醫療器材；未經放射科醫師確認。"
    assert report.sentences[1].startswith("確認後：") and report.sentences[1].endswith("。")
    assert report.sentences[2:] == ("未檢視肺結節及肺部腫塊。", "此檢查無對應醫囑。")
    assert _language(report.dataset) == "zh-TW"
    assert _language(_written()) == "en"


def _language(written: Dataset) -> str:
    """PS3.16 TID 1204."""
    (item,) = [item for item in written.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121049"]
    return str(item.ConceptCodeSequence[0].CodeValue)


def test_a_kind_has_its_codes_of_radiology_as_equivalents() -> None:
    written = _written(findings(None, finding(1)))
    group = written.ContentSequence[-1].ContentSequence[1]
    (kind,) = [item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121071"]
    others = [(code.CodingSchemeDesignator, code.CodeValue) for code in kind.ConceptCodeSequence[0].EquivalentCodeSequence]
    assert others == [("RADLEX", "RID50149"), ("RADELEMENT", "RDES195")]


def test_a_long_name_of_a_service_fits() -> None:
    said = devices_alone(service=f"{DEVICES}-{'x' * 39}")
    assert len(_written(said).SeriesDescription) == 64


def test_a_box_beyond_float32_is_refused() -> None:
    far = finding(1)
    far = far.model_copy(update={"region": far.region.model_copy(update={"left": 1e300})})
    said = findings(None, far)
    with pytest.raises(ValueError, match="float32"):
        structured_report(said, evidence_of(said))


def test_frames_are_named_of_images_that_have_them() -> None:
    said = two_images()
    first, second = (group.region for group in read_report(structured_report(said, evidence_of(said))).groups if group.region)
    assert (first.frame, second.frame) == (1, 2)
    assert (SOPInstanceUID(first.image), SOPInstanceUID(second.image)) == tuple(one.sop_instance_uid for one in said.images)
