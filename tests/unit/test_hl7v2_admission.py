"""Which messages a site takes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.hl7v2.admission import Admission, objection, type_of, used
from schemas.hl7v2.header import Header
from schemas.hl7v2.message_types import USED
from streams.steps import normalise

TAKES_ALL = Admission()


def header(kind: str = "ORM^O01", processing_id: str = "P", version: str = "2.5.1", to: str = "ENGINE|H2") -> Header:
    return Header.read(f"MSH|^~\\&|RIS|H1|{to}|20260101||{kind}|C1|{processing_id}|{version}\rPID|||SECRET\r".encode())


def code(told: Header, admission: Admission = TAKES_ALL) -> tuple[str, str] | None:
    found = objection(told, admission, "ASCII")
    return (found.condition.code, found.condition.location) if found else None


@pytest.mark.parametrize("processing_id", ["P", "p", "P^T", "", " "])
def test_production_is_taken(processing_id: str) -> None:
    assert code(header(processing_id=processing_id)) is None


@pytest.mark.parametrize("processing_id", ["T", "D", "t", "T^A", "Q", '""'])
def test_training_and_debugging_are_not(processing_id: str) -> None:
    assert code(header(processing_id=processing_id)) == ("202", "MSH^1^11")


def test_a_test_system_takes_tests_alone() -> None:
    tests = Admission(processing_ids=("T",))
    assert code(header(processing_id="T"), tests) is None
    assert code(header(), tests) == code(header(processing_id=""), tests) == ("202", "MSH^1^11")


@pytest.mark.parametrize("version", ["2.1", "2.3", "2.3.1", "2.5.1", "2.9", "2.5.1^DEU", "2", ""])
def test_versions_2_are_taken(version: str) -> None:
    assert code(header(version=version)) is None


@pytest.mark.parametrize(
    ("charset", "default", "codec"), [("8859/1", "ASCII", "latin-1"), ("", "UNICODE UTF-8", "utf-8"), ("BIG-5", "ASCII", "big5")]
)
def test_a_receivers_name_is_read_in_the_character_set_of_the_message(charset: str, default: str, codec: str) -> None:
    name = "醫院" if codec == "big5" else "Universitätsklinikum"
    line = f"MSH|^~\\&|RIS|H1|E|{name}^X|20260101||ORM^O01|C1|P|2.5.1||||||{charset}\r".encode(codec)
    us, others = Admission(receiving_facilities=(name,)), Admission(receiving_facilities=("Klinik",))
    assert objection(Header.read(line, default), us, default) is None
    assert objection(Header.read(line, default), others, default) is not None


@pytest.mark.parametrize("version", ["3.0", "V2", "2.", "2.5.1.1", "20", "1.0"])
def test_other_versions_are_not(version: str) -> None:
    assert code(header(version=version)) == ("203", "MSH^1^12")


def test_misrouted() -> None:
    site = Admission(receiving_applications=("ENGINE", "RADSTREAM"), receiving_facilities=("H2",))
    assert code(header(), site) is None
    assert code(header(to="ENGINE^1.2.3^ISO|H2^1.2^ISO"), site) is None
    assert code(header(to="|"), site) is None
    assert code(header(to="OTHER|H2"), site) == ("103", "MSH^1^5")
    assert code(header(to="RADSTREAM|H3"), site) == ("103", "MSH^1^6")


def test_unused_types_are_taken_unless_a_setting_refuses_them() -> None:
    refusing = Admission(unused_types="refuse")
    for kind, expected in {
        "ORM^O01": None,
        "orm^o01": None,
        "OMI^O23^OMI_O23": None,
        "ADT^A60": ("201", "MSH^1^9^1^2"),
        "BAR^P01": ("200", "MSH^1^9^1^1"),
        "": ("200", "MSH^1^9^1^1"),
    }.items():
        assert code(header(kind)) is None
        assert code(header(kind), refusing) == expected
        assert used(header(kind)) is (expected is None)


def test_what_a_count_is_called_holds_nothing_of_a_patient() -> None:
    assert [type_of(header(kind)) for kind in ("ADT^A60", "ACK", "adt^a60^ADT_A60")] == ["ADT^A60", "ACK", "ADT^A60"]
    assert {type_of(header(kind)) for kind in ("", "^", "DOE^JANE", "19700101^A01", "DOE", "ADT^JANE DOE")} == {"other"}


def test_very_long_fields_are_judged_too() -> None:
    assert code(header(to="X" * 100_000 + "|H"), Admission(receiving_applications=("ENGINE",))) == ("103", "MSH^1^5")


def test_the_readers_read_what_the_list_says() -> None:
    assert set(normalise._READERS) == set(USED)


def test_the_setting_knows_the_table() -> None:
    for wrong in ({"processing_ids": []}, {"processing_ids": ["X"]}, {"unused_types": "drop"}, {"receiving_facilities": [""]}):
        with pytest.raises(ValidationError):
            Admission.model_validate(wrong)
