"""The demo shows what an archive and a RIS would be sent."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from pydicom import dcmread

from schemas.hl7v2.message import Message
from schemas.renderings.dicom.document import document_of
from streams.demo.documents import ORU, STRUCTURED_REPORT, render
from tests.contract.example_evidence import evidence_of
from tests.contract.example_findings import two_findings


def test_both_are_of_the_findings(tmp_path: Path) -> None:
    findings = two_findings()
    render(findings, evidence_of(findings), UTC, tmp_path)
    report = dcmread(tmp_path / STRUCTURED_REPORT)
    assert report.SOPInstanceUID == document_of(findings).sop_instance_uid
    assert (report.Modality, report.VerificationFlag) == ("SR", "UNVERIFIED")
    message = Message.parse((tmp_path / ORU).read_bytes())
    assert [segment.name for segment in message.segments][:3] == ["MSH", "PID", "OBR"]
    assert sum(segment.name == "OBX" for segment in message.segments) > 4
