"""Reports and patients."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.events import PatientMerged, PatientUpdated, ReportAmended, ReportDrafted, ReportEvent, ReportSigned
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.patients import merged, updated
from schemas.hl7v2.reports import reports
from schemas.hl7v2.site import Site
from schemas.identifiers import PatientIdentifier

SITE = Site(default_assigner="HOSPITAL")
RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = "MSH|^~\\&|RIS|H|||20260101120000||{}|C1|P|2.5.1\r"


def reception(message: str) -> Reception:
    return Reception(Message.parse(message.encode()), SITE, RECEIVED)


def oru(status: str = "F", obx: str = "", before: str = "PID|||P1^^^MPI\r") -> list[ReportEvent]:
    obr = f"OBR|1|PL1|FI1|36554-4^Chest{'|' * 18}20260101110000|||{status}\r"
    return list(reports(reception(MSH.format("ORU^R01") + before + obr + obx)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("F", ReportSigned),
        ("Final", ReportSigned),
        ("C", ReportAmended),
        ("P", ReportDrafted),
        ("R", ReportDrafted),
        ("A", ReportDrafted),
        ("Wet Read", ReportDrafted),
        ("", ReportDrafted),
    ],
)
def test_result_status(status: str, kind: type[ReportEvent]) -> None:
    """Table 0123; A is "some, but not all, results available"."""
    [report] = oru(status)
    assert (type(report), report.result_status) == (kind, status)
    assert str(report.accession_number) == "FI1^HOSPITAL"
    assert report.sender.occurred_at == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert report.time == RECEIVED


def test_text_is_the_lines_of_obx_5() -> None:
    [report] = oru(
        obx="OBX|1|TX|1||Findings:\\.br\\clear\r"
        "OBX|2|TX|1||\r"
        "OBX|3|FT|1||line one~line two & more\r"
        "OBX|4|CE|1||C65^Neoplasm^ICD\r"
        "OBX|5|ED|1||^Application^PDF^Base64^JVBERi0x\r"
        "OBX|6|RP|1||pointer\r"
    )
    assert report.text == "Findings:\nclear\n\nline one\nline two & more\nNeoplasm"


def test_each_group_has_the_patient_before_it() -> None:
    second = "PID|||P2^^^MPI\rORC|RE|PL2|FI2\rOBR|1|PL2|FI2\rOBX|1|TX|||two\r"
    found = oru(obx="OBX|1|TX|||one\r" + second)
    assert [(report.patients, report.text) for report in found] == [
        ((PatientIdentifier(value="P1", assigner="MPI"),), "one"),
        ((PatientIdentifier(value="P2", assigner="MPI"),), "two"),
    ]
    assert found[0].id != found[1].id


def test_reports_that_could_never_be_found() -> None:
    with pytest.raises(MissingIdentifier):
        reports(reception(MSH.format("ORU^R01") + "OBR|1|||36554-4\r"))
    with pytest.raises(MalformedMessage, match="OBR"):
        reports(reception(MSH.format("ORU^R01") + "PID|||P1\r"))


def test_a_patient_is_updated() -> None:
    [event] = updated(reception(MSH.format("ADT^A08") + "EVN||20260101100000|||||\rPID|||P1^^^MPI~P1^^^MPI~^^^X~N7^^^&1.2.3&ISO\r"))
    assert type(event) is PatientUpdated
    assert event.patients == (
        PatientIdentifier(value="P1", assigner="MPI"),
        PatientIdentifier(value="N7", assigner="1.2.3"),
    )
    assert event.sender.occurred_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


def test_evn_6_is_the_time_of_the_event() -> None:
    [event] = updated(reception(MSH.format("ADT^A08") + "EVN||20260101100000||||20260101080000\rPID|||P1\r"))
    assert event.sender.occurred_at == datetime(2026, 1, 1, 8, tzinfo=UTC)


def test_patients_are_merged_pair_by_pair() -> None:
    pairs = "PID|||NEW1^^^MPI\rMRG|OLD1^^^MPI\rPID|||NEW2^^^MPI\rMRG|OLD2^^^MPI~OLD3\r"
    first, second = merged(reception(MSH.format("ADT^A40") + pairs))
    assert type(first) is PatientMerged
    assert (first.patients[0].value, first.prior[0].value) == ("NEW1", "OLD1")
    assert [p.value for p in second.prior] == ["OLD2", "OLD3"]
    assert first.id != second.id


@pytest.mark.parametrize(
    ("segments", "place"),
    [("PID|||P1\r", "MRG-1"), ("PID|||P1\rMRG|\r", "MRG-1"), ("PID|||\rMRG|P1\r", "PID-3"), ("MRG|P1\r", "PID-3")],
)
def test_a_merge_of_nobody(segments: str, place: str) -> None:
    with pytest.raises(MissingIdentifier, match=place):
        merged(reception(MSH.format("ADT^A40") + segments))


def test_an_update_of_nobody() -> None:
    with pytest.raises(MissingIdentifier, match="PID-3"):
        updated(reception(MSH.format("ADT^A08") + "PID|||^^^MPI\r"))
