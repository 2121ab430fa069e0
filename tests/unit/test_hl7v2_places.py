"""Where a site and its senders have their identifiers, and what their words mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.errors import MalformedMessage
from schemas.events import OrderEvent, ReportDrafted, ReportSigned
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.orders import orders
from schemas.hl7v2.paths import Path, Place
from schemas.hl7v2.patients import merged, updated
from schemas.hl7v2.reports import reports
from schemas.hl7v2.site import Site

RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = "MSH|^~\\&|RIS|H|||20260101120000||{}|C1|P|2.5.1\r"
PID = "PID||EXT^^^X|P1^^^MPI|ALT^^^Y\r"


def reception(text: str, kind: str = "ORM^O01", **told: Any) -> Reception:
    site = Site.model_validate({"default_assigner": "HOSPITAL", **told})
    return Reception(Message.parse((MSH.format(kind) + text).encode()), site, RECEIVED)


def order(text: str, **told: Any) -> OrderEvent:
    [found] = orders(reception(PID + text, **told))
    return found


@given(
    st.from_regex(r"\A[A-Z][A-Z0-9]{2}\Z"),
    st.integers(1, 999),
    st.none() | st.tuples(st.integers(1, 99), st.none() | st.integers(1, 99)),
)
def test_paths_are_read_as_they_are_written(segment: str, field: int, rest: tuple[int, int | None] | None) -> None:
    path = Path(segment, field, *(rest or ()))
    assert Path.of(str(path)) == path
    assert Place.model_validate(str(path)).model_dump() == str(path)


@pytest.mark.parametrize("text", ["", "OBR", "OBR18", "OBR-", "OBR-0", "obr-18", "OBR-18.", "OBR-18.0", "PID-3.4.2.1", "PID-3[2]"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="is no field path"):
        Path.of(text)
    with pytest.raises(ValidationError, match="is no field path"):
        Place.model_validate(text)


@pytest.mark.parametrize("given", [3, None, {"value": 3}, {"assigner": "OBR-1"}, {"value": "OBR-1", "also": "OBR-2"}])
def test_what_is_no_place(given: Any) -> None:
    with pytest.raises(ValidationError):
        Place.model_validate(given)


ORDER = "PV1|1|O|WARD||||||||||||||||V7^^^ADT\rORC|NW|PL1^HIS|FI1^RIS\rOBR|1|||36554-4||||||||||||||ACC1^OTHER|ALT1\rZAC|Z1|ZI\r"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["OBR-18"], "ACC1^OTHER"),
        (["OBR-18.1"], "ACC1^HOSPITAL"),
        (["ORC-3"], "FI1^RIS"),
        (["ORC-3.1"], "FI1^HOSPITAL"),
        (["OBR-19", "ORC-3.1"], "ALT1^HOSPITAL"),
        (["OBR-20", "ZZZ-1", "ORC-3.1"], "FI1^HOSPITAL"),
        ([{"value": "OBR-18", "assigner": "ZAC-2"}], "ACC1^ZI"),
        ([{"value": "ZAC-1", "assigner": "ZAC-9"}], "Z1^HOSPITAL"),
        ([{"value": "OBR-18", "assigner": "OBR-18.2"}], "ACC1^OTHER"),
        (["PV1-20.1"], "None"),
        (["PV1-19.1"], "V7^HOSPITAL"),
    ],
)
def test_the_first_place_that_holds_a_value(places: list[Any], expected: str) -> None:
    assert str(order(ORDER, accession_number=places).accession_number) == expected


def test_numbers_and_study_where_a_site_has_them() -> None:
    found = order(
        "ORC|NW\rOBR|1|PL9\rZDS|x^1.2.3\rZNR|F^^1.2.9\r",
        placer_order_number=["ORC-2", "OBR-2"],
        filler_order_number=["ZNR-1"],
        study_instance_uid=["ZDS-1.1", "ZDS-1.2"],
    )
    assert (str(found.placer_order_number), str(found.filler_order_number)) == ("PL9^HOSPITAL", "F^1.2.9")
    assert found.study_instance_uid == "1.2.3", "what is no UID is passed over"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["PID-3"], ["P1^MPI"]),
        (["PID-3.1"], ["P1^HOSPITAL"]),
        (["PID-2", "PID-3"], ["EXT^X"]),
        (["PID-9", "PID-4"], ["ALT^Y"]),
        ([{"value": "PID-3.1", "assigner": "PID-3.4"}], ["P1^MPI"]),
        ([{"value": "PID-3", "assigner": "MSH-4"}], ["P1^H"]),
    ],
)
def test_patient_identifiers_where_a_site_has_them(places: list[Any], expected: list[str]) -> None:
    [event] = updated(reception(PID, "ADT^A08", patient_identifier=places))
    assert [f"{one.value}^{one.assigner}" for one in event.patients] == expected


def test_each_repetition_has_its_own_assigner() -> None:
    place = [{"value": "PID-3.1", "assigner": "PID-3.6"}]
    [event] = updated(reception("PID|||A^^^^^ONE~B^^^^^TWO\r", "ADT^A08", patient_identifier=place))
    assert [f"{one.value}^{one.assigner}" for one in event.patients] == ["A^ONE", "B^TWO"]


def test_an_assigner_may_be_known_by_its_universal_id_alone() -> None:
    [event] = updated(reception("PID|||A^^^&1.2.3&ISO~B^^^NAME&1.2.4&ISO\r", "ADT^A08"))
    assert [f"{one.value}^{one.assigner}" for one in event.patients] == ["A^1.2.3", "B^NAME"]


def test_prior_identifiers_where_a_site_has_them() -> None:
    [event] = merged(reception(PID + "MRG|||OLD\r", "ADT^A40", prior_patient_identifier=["MRG-1", "MRG-3"]))
    assert event.prior[0].value == "OLD"


def test_what_stands_before_the_first_group_of_a_patient_is_for_its_groups_alone() -> None:
    text = "ZAC|Z0\rPID|||P1\rZAC|Z1\rORC|NW|A\rOBR|1\rORC|NW|B\rOBR|1\rZAC|Z2\rPID|||P2\rORC|NW|C\rOBR|1\r"
    found = orders(reception(text, accession_number=["ZAC-1"]))
    assert [str(one.accession_number) for one in found] == ["Z0^HOSPITAL", "Z2^HOSPITAL", "Z0^HOSPITAL"]


def test_what_one_sender_does_otherwise() -> None:
    senders = {
        "RIS|H": {"default_assigner": "OWN", "time_zone": "Europe/Berlin", "accession_number": ["OBR-19"]},
        "RIS|*": {"default_assigner": "ANY"},
    }
    found = order(ORDER.replace("^HIS", ""), senders=senders, accession_assigner="ACCS")
    assert (str(found.placer_order_number), str(found.accession_number)) == ("PL1^OWN", "ALT1^ACCS")
    assert found.sender.occurred_at == datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    site = Site.model_validate({"default_assigner": "HOSPITAL", "senders": senders})
    assert site.as_of("RIS", "ELSE").default_assigner == "ANY"
    assert site.as_of("HIS", "H") is site


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ({"Reported": "F"}, "REPORTED", ReportSigned),
        ({"reported": "F"}, "Reported", ReportSigned),
        ({"": "F"}, "", ReportSigned),
        ({"": "P"}, "", ReportDrafted),
        ({"F": "P"}, "F", ReportDrafted),
        ({}, "Reported", ReportDrafted),
    ],
)
def test_a_senders_own_words(words: dict[str, str], status: str, kind: type) -> None:
    text = f"OBR|1|PL1{'|' * 23}{status}\rOBX|1|TX|||text||||||F\r"
    [site_says] = reports(reception(text, "ORU^R01", result_status=words))
    [sender_says] = reports(reception(text, "ORU^R01", senders={"RIS|H": {"result_status": words}}))
    assert type(site_says) is (kind if words or status else ReportSigned)
    assert type(sender_says) is type(site_says)
    assert site_says.result_status == status


def test_a_senders_words_stand_beside_those_of_the_site() -> None:
    senders = {"RIS|H": {"result_status": {"Reported": "P", "Final": "C"}}}
    site = Site.model_validate({"default_assigner": "H", "result_status": {"Read": "F", "Final": "F"}, "senders": senders})
    told = site.as_of("RIS", "H")
    assert [told.result_code(word) for word in ("Read", "reported", "FINAL", "else")] == ["F", "P", "C", "ELSE"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ORC|N\xfc|PL1\rOBR|1\r", "ORC-1"),
        ("ORC|NW|PL1|||I\xfc\rOBR|1\r", "ORC-5"),
        ("ORC|NW|PL1||||x|^^^^^\xfc\rOBR|1\r", "ORC-7"),
        ("ORC|NW|P\xfc\rOBR|1\r", "ORC-2"),
        ("ORC|NW|PL1^\xfc\rOBR|1\r", "ORC-2"),
        ("ORC|NW|PL1\rOBR|1|||3\xfc\r", "OBR-4"),
        ("ORC|NW|PL1\rOBR|1|||1^text^L\xfc\r", "OBR-4"),
        ("ORC|NW|PL1\rOBR|1\rTQ1|||||||||\xfc\r", "TQ1-9"),
        ("ORC|NW|PL1\rOBR|1||||||||||||||||||\rZAC|\xfc\r", "ZAC-1"),
    ],
)
def test_an_undecodable_byte_in_an_identifier_or_code_refuses_and_is_named(text: str, place: str) -> None:
    """Its own offset and character set, though a name before it holds another."""
    data = (MSH.format("ORM^O01") + "PID|||P1||M\xfcller\r" + text).encode("latin-1")
    site = Site.model_validate({"default_assigner": "H", "accession_number": ["OBR-18", "ZAC-1"]})
    with pytest.raises(MalformedMessage, match=f"{place}: .* not UNICODE UTF-8, at offset {data.rindex(0xFC)}$") as refused:
        orders(Reception(Message.parse(data), site, RECEIVED))
    assert "ller" not in str(refused.value)


@pytest.mark.parametrize("place", ["OBR-25", "OBX-2", "OBX-3", "OBX-11"])
def test_codes_of_a_report(place: str) -> None:
    text = f"OBR|1|PL1{'|' * 23}@OBR-25\rOBX|1|TX@OBX-2|A&G@OBX-3||text||||||F@OBX-11\r"
    for other in {"OBR-25", "OBX-2", "OBX-3", "OBX-11"} - {place}:
        text = text.replace(f"@{other}", "")
    data = (MSH.format("ORU^R01") + text.replace(f"@{place}", "\xfc")).encode("latin-1")
    with pytest.raises(MalformedMessage, match=place):
        reports(Reception(Message.parse(data), Site(default_assigner="H"), RECEIVED))
