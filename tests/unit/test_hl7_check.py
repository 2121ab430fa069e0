"""`radstream hl7 check`: what it says of messages, and what it does not print."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from schemas.hl7v2.admission import Admission
from schemas.hl7v2.files import pieces_of
from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.renderings.hl7conformance import deviations
from streams.cli import app
from streams.hl7_check import Report, examine

SITE = Site(default_assigner="HOSPITAL")
MSH = "MSH|^~\\&|HIS|H|RAD|X|20260101120000||ORM^O01^ORM_O01|C1|P|2.5.1"
PID = "PID|1||P1^^^MPI^MR||Doe^Jane||19700101|F"
ORC = "ORC|NW|PL1^HIS|FI1^RIS||SC"
OBR = "OBR|1|PL1^HIS|FI1^RIS|36554-4^Chest X-ray^LN||||||||||||||ACC1"
RIGHT = "\r".join((MSH, PID, "PV1|1|O", ORC, OBR, "OBX|1|ST|8302-2^Height^LN||172|cm|||||F", "ZDS|1.2.3^^Application^DICOM", ""))


def told(text: str) -> list[tuple[str, str, str, bool]]:
    return [(one.place, one.expected, one.found, one.error) for one in deviations(Message.parse(text.encode()))]


def reports(tmp_path: Path, data: bytes) -> list[Report]:
    file = tmp_path / "messages.hl7"
    file.write_bytes(data)
    return list(examine(file, SITE, Admission()))


def test_a_right_message_is_called_right() -> None:
    """An ORM_O01, of which hl7apy's own validation knows none that is valid; with a Z segment, and an OBX-5 of 5,000 letters."""
    assert told(RIGHT) == []
    assert told(RIGHT.replace("|172|", f"|{'x' * 5000}|")) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("|C1|", "||", ("MSH-10", "a value: message control id", "empty", True)),
        ("P1^^^MPI^MR", "", ("PID-3", "a value: patient identifier list", "empty", True)),
        ("|19700101|", "|1.1.70|", ("PID-7.1", r"a time YYYY.*\(DTM\): time", "6 characters", True)),
        ("PID|1|", "PID|one|", ("PID-1", r"a whole number .*\(SI\): set id pid", "3 characters", True)),
        ("|Doe^Jane|", "|Doe^Jane" + "^x" * 20 + "|", ("PID-5", r"at most 14 components \(XPN\)", "22", False)),
        ("01|F\r", "01|F~M\r", ("PID-8", "at most 1 repetition", "2", True)),
        ("ORC|NW", "ORC|??", ("ORC-1", "a code of table 0119: order control", "2 characters", False)),
        ("|ST|8302", "|NM|8302", None),
        (
            "|ST|8302-2^Height^LN||172",
            "|NM|8302-2^Height^LN||tall",
            ("OBX-5", r"a number \(NM\): observation value", "4 characters", True),
        ),
        ("|ST|8302-2^Height^LN||172", "|CE|8302-2^Height^LN||a^b^c", None),
        (
            "|ST|8302-2^Height^LN||172",
            "|ST|8302-2^Height^LN||a^b",
            ("OBX-5", r"one value that is not parted \(ST\)", "2 parts", False),
        ),
        ("|ST|8302-2^Height^LN||172", "|TX|8302&GDT^Height^LN||a & b", None),
        ("PV1|1|O", "PV1|1|O\rXYZ|1", ("segment", "a segment of 2.5.1", "a line that is none: .*", True)),
        ("PV1|1|O", "PV1|1|O\rUAC|1", ("segment", "a segment of 2.5.1", "one it does not know", True)),
        ("PV1|1|O\r", "", None),
        ("PID|1|", "EVN|1\rPID|1|", ("EVN", r"no EVN here \(ORM_O01\)", "there", True)),
        (ORC + "\r", "", ("ORC", r"ORC here \(ORM_O01\)", "missing", True)),
        ("|2.5.1\r", "|9.9\r", ("MSH-12", "a version 2.1 to 2.8.2", "3 characters", False)),
        ("ORM^O01^ORM_O01", "QQQ^Q99", ("MSH-9", "a message type of 2.5.1", "7 characters", False)),
        ("ACC1\r", "ACC1" + "|" * 60 + "x\r", ("OBR-78", "at most 50 fields in 2.5.1", "1 character", False)),
    ],
)
def test_what_departs_from_the_standard(old: str, new: str, expected: tuple[str, str, str, bool] | None) -> None:
    assert RIGHT.count(old) == 1
    found = told(RIGHT.replace(old, new))
    if expected is None:
        assert found == []
        return
    place, expecting, actual, error = expected
    matching = [one for one in found if one[0] == place and re.fullmatch(expecting, one[1]) and re.fullmatch(actual, one[2])]
    assert [one[3] for one in matching] == [error], found


@pytest.mark.parametrize(
    ("type", "segments", "expected"),
    [
        ("ADT^A08", ["EVN||20260101", PID, "PV1|1|O"], []),
        ("ADT^A08", [PID, "PV1|1|O"], [("EVN", "missing")]),
        ("ADT^A08", ["EVN||20260101", PID], [("PV1", "missing")]),
        ("ADT^A08", [PID], [("EVN", "missing"), ("PV1", "missing")]),
        ("ADT^A40", ["EVN||20260101", PID, "MRG|1", PID, "MRG|2"], []),
        ("ADT^A40", ["EVN||20260101", PID, PID, "MRG|2"], [("PID", "there")]),
        ("ADT^A47", ["EVN||20260101", "MRG|1", PID], [("MRG", "there"), ("MRG", "missing")]),
        ("OMI^O23", [PID, ORC, "TQ1|1", OBR, "IPC|A^B|C^D|1.2^E|F"], []),
        ("OMI^O23", [PID, ORC, "TQ1|1", OBR], [("IPC", "missing")]),
        ("ORU^R01", [PID, OBR, *["OBX|1|TX|1^1||x||||||F"] * 500], []),
        ("ORU^R01", [PID, "DG1|1", "DG1|2", OBR], [("DG1", "there"), ("DG1", "there")]),
    ],
)
def test_segments_that_are_missing_or_where_none_may_be(type: str, segments: list[str], expected: list[tuple[str, str]]) -> None:
    found = told("\r".join((MSH.replace("ORM^O01^ORM_O01", type), *segments, "")))
    assert [(place, actual) for place, _, actual, _ in found if actual in ("missing", "there")] == expected


def test_messages_of_the_corpora_that_are_right_are_called_right(shared_data: Path) -> None:
    counts: Counter[tuple[str, bool]] = Counter()
    wrong: Counter[str] = Counter()
    for file in sorted((shared_data / "hl7").rglob("*.hl7"))[::3]:
        found = [one for one in deviations(Message.parse(file.read_bytes(), "8859/1")) if one.error]
        counts[file.parent.name, not found] += 1
        wrong.update({one.place for one in found if file.parent.name == "radiology-oru"})
    assert counts[("radiology-oru", True)] > 30, "those of version 2.4"
    assert set(wrong) <= {
        "MSH-9.3", "OBR-17.3", "ORC-14.3", "PV1-19.5", "PID-13.3", "PID-13.6", "PID-13.7", "PID-18.5",  # required in 2.7
        "OBR-32.2", "OBR-32.3", "OBR-33.2", "OBR-33.3", "OBR-34.2", "OBR-34.3",  # a name where a time belongs (NDL)
        "PID-3", "OBR-27", "ORC-7", "OBX-4", "DG1", "DG1-6",
    }  # fmt: skip


def test_of_broken_messages_no_value_is_told(shared_data: Path, tmp_path: Path) -> None:
    """Whatever the bytes, the check ends; and but for --reveal it says places, names of the standard and lengths."""
    random.seed(20261125)
    samples = [file.read_bytes() for file in sorted((shared_data / "hl7").rglob("*.hl7"))]
    poison = [
        b"|",
        b"^",
        b"~",
        b"&",
        b"\\",
        b"\r",
        b"\n",
        b"\x1c",
        b"\0",
        b"\xff",
        b"Doe^Jane",
        b"\rOBX|1|NM|1||x",
        b"\rMSH|^~\\&|",
    ]
    place = re.compile(r"segment|message|[A-Z][A-Z0-9]{2}(-\d+(\[\d+\])?(\.\d+){0,2})?")
    actual = re.compile(
        r"\d+( characters?| parts)?|empty|missing|there|one it does not know|a line that is none: .*|at offset \d+ .*"
    )
    findings = 0
    for _ in range(100):
        data = bytearray(random.choice(samples))
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(data))
            data[at : at + random.randint(0, 20)] = random.choice(poison)
        for report in reports(tmp_path, bytes(data)):
            findings += len(report.findings)
            assert all(place.fullmatch(one.place) and actual.fullmatch(one.found) for one in report.findings)
            assert all(one.value is None for one in report.findings)
    assert findings > 500


def test_what_radstream_makes_of_it(tmp_path: Path) -> None:
    def outcome(text: str) -> tuple[str, bool]:
        [report] = reports(tmp_path, text.encode())
        return report.outcome, report.accepted

    assert outcome(RIGHT) == ("1 OrderPlaced", True)
    assert outcome(RIGHT.replace("ORM^O01^ORM_O01", "SIU^S12")) == ("not used: nothing here reads messages of its type", True)
    assert outcome(RIGHT.replace(ORC, "ORC|")) == ("no event (a notice without an order)", True)
    assert outcome(RIGHT.replace("ORC|NW", "ORC|QQ")) == (
        "refused: ORC-1 of group 1: is no order control code that is read",
        False,
    )
    assert outcome(RIGHT.replace("|P|2.5.1", "|T|2.5.1"))[0].startswith("refused: MSH-11: ")
    assert outcome(RIGHT.replace("|2.5.1", "|2.5.1||||||KLINGON"))[0].startswith("refused: MSH-18: ")
    assert outcome("") == ("nothing: the file holds no message", False)
    assert outcome("PID|||1\r") == ("refused: lines that belong to no message", False)
    assert [report.line for report in reports(tmp_path, b"\n\nPID|||1\n")] == [3], "where they stand"


def test_a_null_is_a_value_in_a_field_or_component_that_must_have_one() -> None:
    """2.5.3: it deletes what the receiver holds."""
    assert told(RIGHT.replace("P1^^^MPI^MR", '""')) == []
    of_2_7 = RIGHT.replace("|2.5.1", "|2.7")
    for structure, wrong in (('^""', False), ("", True)):
        found = told(of_2_7.replace("ORM^O01^ORM_O01", f"ORM^O01{structure}"))
        assert ("MSH-9.3" in [place for place, *_ in found]) is wrong


def test_of_faults_without_end_some_are_told() -> None:
    found = told("\r".join((MSH.replace("ORM^O01^ORM_O01", "ORU^R01"), PID, *["DG1|1"] * 50, OBR, "")))
    assert [place for place, _, actual, _ in found if actual == "there"] == ["DG1"] * 20


def framed(text: str) -> str:
    return f"\x0b{text}\x1c\r"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_files_of_several_messages(tmp_path: Path, end: str, encoding: str) -> None:
    lines = RIGHT.count("\r")
    for text, begins in (
        (RIGHT + RIGHT, [1, 1 + lines]),
        ("\r" + RIGHT + "\r\r" + RIGHT, [2, 4 + lines]),
        (framed(RIGHT) + framed(RIGHT), [1, 2 + lines]),
        ("FHS|^~\\&\rBHS|^~\\&\r" + RIGHT + RIGHT + "BTS|2\rFTS|1\r", [3, 3 + lines]),
    ):
        found = reports(tmp_path, text.replace("\r", end).encode(encoding))
        assert [(report.line, report.right, report.outcome) for report in found] == [(at, True, "1 OrderPlaced") for at in begins]


def test_half_a_character_at_the_end_of_a_utf_16_file(tmp_path: Path) -> None:
    [report] = reports(tmp_path, RIGHT.encode("utf-16-le") + b"x")
    assert [(one.place, one.expected, one.error) for one in report.findings if one.place == "message"] == [
        ("message", "characters of utf-16-le", False)
    ]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    broken = RIGHT.replace("|19700101|", "|1.1.70|")
    first, second = reports(tmp_path, ("\r\n" + broken + "\n" + broken).encode())
    assert [finding.line for finding in first.findings] == [3]
    assert [finding.line for finding in second.findings] == [2 + RIGHT.count("\r") + 1], "CR and LF between them are one line end"


@given(st.lists(st.sampled_from([b"MSH|^~\\&|A|B|", b"\x0b", b"\x1c", b"\r", b"\n", b"\rBHS|1\r", b"x", b"\xef\xbb\xbf"])))
def test_no_byte_of_a_message_is_lost(parts: list[bytes]) -> None:
    data = b"".join(parts)
    pieces = list(pieces_of(data))
    assert sum(piece.content.count(b"A|B|") for piece in pieces) == data.count(b"A|B|")
    assert [piece.line for piece in pieces] == sorted(piece.line for piece in pieces)


def test_the_command(tmp_path: Path) -> None:
    """Values are shown on demand alone."""
    right, wrong = tmp_path / "right.hl7", tmp_path / "wrong.hl7"
    right.write_text(RIGHT)
    wrong.write_text(RIGHT.replace("|19700101|", "|SECRET|").replace("PV1|1|O", "SECRET, Jane||"))
    run = CliRunner().invoke
    assert run(app, ["hl7", "check", str(right)]).exit_code == 0
    found = run(app, ["hl7", "check", str(right), str(wrong)])
    assert (found.exit_code, "SECRET" in found.output) == (1, False)
    assert f"{wrong}:2: error: PID-7.1: expected a time" in found.output
    assert "SECRET" in run(app, ["hl7", "check", "--reveal", str(wrong)]).output
    machine = run(app, ["hl7", "check", "--json", str(right), str(wrong)])
    assert [(one["right"], len(one["findings"])) for one in json.loads(machine.output)] == [(True, 0), (False, 2)]
    assert "SECRET" not in machine.output
    assert run(app, ["hl7", "check", str(tmp_path / "absent.hl7")]).exit_code == 2
