"""What a structured report says, by whom, and that nobody takes it for a radiologist's."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from schemas.findings import DEMONSTRATION
from schemas.identifiers import SOPInstanceUID
from schemas.renderings.dicom.structured_report import structured_report
from tests.contract.example_evidence import evidence_of
from tests.contract.example_findings import (
    DEVICES,
    VERIFIED_AT,
    after_verification,
    devices_alone,
    every_state,
    finding,
    findings,
    subject,
    two_findings,
    two_images,
)
from tests.contract.sr_reader import read_report
from tests.unit.structured_reports import dataset_of


@pytest.mark.parametrize("name", [name for name, said in every_state().items() if said.not_analysed is None])
def test_nobody_takes_it_for_a_radiologists_report(name: str) -> None:
    said = every_state()[name]
    written = dataset_of(said)
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
    assert _language(dataset_of()) == "en"


def _language(written: Dataset) -> str:
    """PS3.16 TID 1204."""
    (item,) = [item for item in written.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121049"]
    return str(item.ConceptCodeSequence[0].CodeValue)


def test_a_kind_has_its_codes_of_radiology_as_equivalents() -> None:
    written = dataset_of(findings(None, finding(1)))
    group = written.ContentSequence[-1].ContentSequence[1]
    (kind,) = [item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121071"]
    others = [(code.CodingSchemeDesignator, code.CodeValue) for code in kind.ConceptCodeSequence[0].EquivalentCodeSequence]
    assert others == [("RADLEX", "RID50149"), ("RADELEMENT", "RDES195")]


def test_a_long_name_of_a_service_fits() -> None:
    said = devices_alone(service=f"{DEVICES}-{'x' * 39}")
    assert len(dataset_of(said).SeriesDescription) == 64


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
