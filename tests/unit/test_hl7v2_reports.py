"""Reports and patients."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.events import (
    Attachment,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    ReportAmended,
    ReportDrafted,
    ReportEvent,
    ReportSigned,
)
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.patients import merged, unlinked, updated
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
        ("unheard of", ReportDrafted),
    ],
)
def test_result_status(status: str, kind: type[ReportEvent]) -> None:
    """Table 0123; A is "some, but not all, results available"."""
    [report] = oru(status)
    assert (type(report), report.result_status) == (kind, status)
    assert str(report.accession_number) == "FI1^HOSPITAL"
    assert report.sender.occurred_at == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert report.time == RECEIVED


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ("F F", ReportSigned),
        ("U", ReportSigned),
        ("U F", ReportSigned),
        ("Final", ReportSigned),
        ("F C", ReportAmended),
        ("F D", ReportAmended),
        ("F P", ReportDrafted),
        ("F R", ReportDrafted),
        ("S", ReportDrafted),
        ("F X", ReportSigned),
        ("O F", ReportSigned),
        ("X", ReportDrafted),
        ("- F", ReportSigned),
        ("-", ReportDrafted),
        ("Wet Read", ReportDrafted),
        ("QQ F", ReportDrafted),
    ],
)
def test_obx_11_decides_where_obr_25_says_nothing(statuses: str, kind: type[ReportEvent]) -> None:
    told = ["Wet Read"] if statuses == "Wet Read" else statuses.replace("-", "").split(" ")
    obx = "".join(f"OBX|{n}|TX|||line||||||{status}\r" for n, status in enumerate(told))
    assert [type(report) for report in oru("", obx)] == [kind]
    assert [type(report) for report in oru("P", obx)] == [ReportDrafted], "OBR-25 says it of all"


def test_u_signs_without_sending_the_text_again() -> None:
    [report] = oru("", "OBX|1|TX|||||||||U\r")
    assert (type(report), report.text) == (ReportSigned, "")


@pytest.mark.parametrize("version", ["2.3", "2.5.1", "2.8"])
@pytest.mark.parametrize("obx", ["OBX|2|TX|&ADT||more||||||F\r", "OBX|2|TX|X&ADT||more||||||F\r", "OBX|2|TX|||more||||||{}\r"])
@pytest.mark.parametrize("letter", ["A", "B"])
def test_an_addendum_is_kept_apart(version: str, obx: str, letter: str) -> None:
    whole = "OBX|1|TX|&GDT||first||||||F\r" + obx.format(letter) + "OBX|3|TX|&IMP||last||||||F\r"
    for status, kind in (("F", ReportAmended), ("C", ReportAmended), ("P", ReportDrafted)):
        [report] = oru(status, whole)
        assert (type(report), report.text, report.addendum) == (kind, "first\nlast", "more")


def test_withdrawn_lines_are_no_text() -> None:
    [report] = oru("C", "OBX|1|TX|||right||||||F\rOBX|2|TX|||deleted||||||D\rOBX|3|TX|||of another||||||W\r")
    assert (type(report), report.text) == (ReportAmended, "right")


def test_text_is_the_lines_of_obx_5() -> None:
    [report] = oru(
        obx="OBX|1|TX|1||Findings:\\.br\\clear\r"
        "OBX|2|TX|1||\r"
        "OBX|3|FT|1||line one~line two & more\r"
        "OBX|4|CE|1||C65^Neoplasm^ICD\r"
        "OBX|5|ED|PDF&x||^Application^PDF^Base64^JVBERi0x\r"
        "OBX|6|RP|1||pointer&x^PACS^IM^JPEG\r"
        "OBX|7|ED|1||^TEXT^^A^plain & readable\r"
        "OBX|8|ED|1||^Text^text/xml^ASCII^<x/>\r"
        "OBX|9|ED|1||^TEXT^^Base64^cGxhaW4=\r"
        "OBX|10|RP|1||\r"
    )
    assert report.text == "Findings:\nclear\n\nline one\nline two & more\nNeoplasm\nplain & readable"
    assert report.attachments == (
        Attachment(data_type="ED", observation="PDF", type="Application", subtype="PDF", encoding="Base64", length=8),
        Attachment(data_type="RP", observation="1", type="IM", subtype="JPEG", pointer="pointer"),
        Attachment(data_type="ED", observation="1", type="TEXT", encoding="A", length=16),
        Attachment(data_type="ED", observation="1", type="Text", subtype="text/xml", encoding="ASCII", length=4),
        Attachment(data_type="ED", observation="1", type="TEXT", encoding="Base64", length=8),
    )


def test_each_group_has_the_patient_before_it() -> None:
    second = "PID|||P2^^^MPI\rORC|RE|PL2|FI2\rOBR|1|PL2|FI2\rOBX|1|TX|||two\r"
    found = oru(obx="OBX|1|TX|||one\r" + second)
    assert [(report.patients, report.text) for report in found] == [
        ((PatientIdentifier(value="P1", assigner="MPI"),), "one"),
        ((PatientIdentifier(value="P2", assigner="MPI"),), "two"),
    ]
    assert found[0].id != found[1].id


def test_a_result_without_orc_has_no_number_of_the_patient_before() -> None:
    [_, second] = oru(before="PID|||P1\rORC|RE|PLACER1\r", obx="PID|||P2\rOBR|1||FI2\r")
    assert second.placer_order_number is None
    assert second.patients == (PatientIdentifier(value="P2", assigner="HOSPITAL"),)


def test_reports_that_could_never_be_found() -> None:
    with pytest.raises(MissingIdentifier):
        reports(reception(MSH.format("ORU^R01") + "OBR|1|||36554-4\r"))
    with pytest.raises(MalformedMessage, match="OBR"):
        reports(reception(MSH.format("ORU^R01") + "PID|||P1\r"))


OURS = "OBR|{}|PL1|AI0123^radstream|{}||||||||||||||ACC1||||||||R\rOBX|1|TX|text^Text for the report^99RADSTREAM|T1|Mass||||||R\r"


@pytest.mark.parametrize("code", ["chest-radiograph-findings^AI^99RADSTREAM", "AI^AI^L^chest-radiograph-findings^AI^99RADSTREAM"])
def test_what_we_told_ourselves_is_nobodys_report(code: str) -> None:
    """An interface engine may route our own ORU back to us, by its own code too."""
    assert oru_of(OURS.format(1, code)) == []
    theirs = "OBR|2|PL1|FI1|36554-4|||||||||||||||||||||F\rOBX|1|TX|1^Findings^L||Clear||||||F\r"
    [report] = oru_of(OURS.format(1, code) + theirs)
    assert (type(report), report.text) == (ReportSigned, "Clear")


def test_what_we_told_is_not_read_as_the_words_of_a_report_that_holds_it() -> None:
    [report] = oru(obx="OBX|1|TX|1^Findings^L||Clear||||||F\rOBX|2|TX|text^Text for the report^99RADSTREAM|T1|Mass||||||R\r")
    assert report.text == "Clear"


def oru_of(groups: str) -> list[ReportEvent]:
    return list(reports(reception(MSH.format("ORU^R01") + "PID|||P1^^^MPI\r" + groups)))


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


def test_patients_are_unlinked() -> None:
    pids = "EVN||20260101100000\rPID|||P1^^^MPI\rPV1|1\rPID|||P2^^^MPI~P3\r"
    [event] = unlinked(reception(MSH.format("ADT^A37") + pids))
    assert type(event) is PatientUnlinked
    assert [one.value for one in event.patients] == ["P1"]
    assert [one.value for one in event.prior] == ["P2", "P3"]
    assert event.sender.occurred_at == datetime(2026, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("pids", ["", "PID|||P1\r", "PID|||P1\rPID|||\r", "PID|||\rPID|||P2\r", "PID|||P1\rPID|||P2\rPID|||P3\r"])
def test_an_unlinking_of_nobody(pids: str) -> None:
    with pytest.raises(MissingIdentifier, match="PID"):
        unlinked(reception(MSH.format("ADT^A37") + pids))


@pytest.mark.parametrize("type", ["A18", "A34", "A40", "A47"])
def test_merges_and_changes_of_the_identifier_list(type: str) -> None:
    """MRG-1 holds what is no longer valid in all of them (v2.5.1 3.3.18, 3.3.34, 3.3.40, 3.3.47)."""
    text = "EVN|A|20260101\rPID|||NEW^^^MPI||N^N\rPD1|\rMRG|OLD^^^MPI~OLDER^^^X||||||O^O\rPV1|1\r"
    [event] = merged(reception(MSH.format(f"ADT^{type}") + text))
    assert [one.value for one in event.patients] == ["NEW"]
    assert [(one.value, one.assigner) for one in event.prior] == [("OLD", "MPI"), ("OLDER", "X")]
