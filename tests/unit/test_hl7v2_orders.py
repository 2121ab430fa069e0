"""Orders: our reader against hl7apy's writer, and the rules of ORC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import OrderCancelled, OrderChanged, OrderEvent, OrderPlaced, OrderStatus, Priority
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.orders import orders
from schemas.hl7v2.site import Site
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, StudyInstanceUID
from schemas.renderings.hl7orm import order_message

SITE = Site(default_assigner="HOSPITAL", accession_assigner="RIS", time_zone=ZoneInfo("Europe/Berlin"))
RECEIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = "MSH|^~\\&|HIS|H|||20260101120000||ORM^O01|C1|P|2.5.1|7"
PID = "PID|||P1^^^MPI~P2"
NEW = f"{MSH}\r{PID}\rORC|NW|PL1|FI1\rOBR||||36554-4^Chest^LN||||||||||||||ACC1\r"

_text = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=20,
).filter(lambda text: text.strip() == text and text != '""')


def read(message: str | bytes, site: Site = SITE) -> list[OrderEvent]:
    data = message.encode() if isinstance(message, str) else message
    return list(orders(Reception(Message.parse(data, site.default_charset), site, RECEIVED)))


@settings(max_examples=40)
@given(value=_text, assigner=_text, accession=_text, patient=_text, service=_text)
def test_what_hl7apy_writes_is_what_we_read(value: str, assigner: str, accession: str, patient: str, service: str) -> None:
    at = datetime(2026, 11, 24, 12, 30, 5, 123400, tzinfo=timezone(timedelta(hours=2)))
    [order] = read(
        order_message(
            placer=PlacerOrderNumber(value=value, assigner=assigner),
            filler=FillerOrderNumber(value=accession, assigner="FILLER"),
            accession=AccessionNumber(value=accession, assigner="RIS"),
            patient=PatientIdentifier(value=patient, assigner=assigner),
            service=service,
            service_code=("36554-4", "LN"),
            at=at,
            control_id="C-77",
            stat=True,
            study=StudyInstanceUID("1.2.840.99"),
            order_status="IP",
        )
    )
    assert type(order) is OrderPlaced
    assert order.placer_order_number == PlacerOrderNumber(value=value, assigner=assigner)
    assert order.filler_order_number == FillerOrderNumber(value=accession, assigner="FILLER")
    assert order.accession_number == AccessionNumber(value=accession, assigner="RIS")
    assert order.patients == (PatientIdentifier(value=patient, assigner=assigner),)
    assert (order.service_code, order.service_text, order.service_coding_system) == ("36554-4", service, "LN")
    assert order.priority is Priority.STAT
    assert order.status is OrderStatus.IN_PROGRESS
    assert order.study_instance_uid == "1.2.840.99"
    assert order.sender.occurred_at == at
    assert (order.sender.key, order.sender.message_control_id) == ("HIS|HOSPITAL", "C-77")


def test_a_control_character_in_a_text_ends_neither_segment_nor_message() -> None:
    """Not as \\.br\\ either: that is for formatted text (FT, 2.7.6)."""
    sent = order_message(
        placer=PlacerOrderNumber(value="PL1", assigner="HIS"),
        accession=None,
        patient=PatientIdentifier(value="P1", assigner="MPI"),
        service="Chest\rPA\x1c",
        at=RECEIVED,
        control_id="C-78",
    )
    assert b"\x1c" not in sent
    assert [order.service_text for order in read(sent)] == ["Chest PA"]


def test_time_is_that_of_receipt_and_the_same_bytes_have_the_same_id() -> None:
    [first], [again], [other] = read(NEW), read(NEW), read(NEW.replace("Chest", "Abdomen"))
    assert first == again
    assert first.time == RECEIVED
    assert other.id != first.id


@pytest.mark.parametrize(
    ("orc_1", "orc_5", "kind", "status"),
    [
        ("NW", "", OrderPlaced, OrderStatus.PLACED),
        ("SN", "", OrderPlaced, OrderStatus.PLACED),
        ("RO", "", OrderPlaced, OrderStatus.PLACED),
        ("NW", "SC", OrderPlaced, OrderStatus.PLACED),
        ("XO", "IP", OrderChanged, OrderStatus.IN_PROGRESS),
        ("SC", "CM", OrderChanged, OrderStatus.COMPLETED),
        ("SC", "CA", OrderCancelled, OrderStatus.CANCELLED),
        ("RP", "", OrderChanged, OrderStatus.PLACED),
        ("HD", "", OrderChanged, OrderStatus.ON_HOLD),
        ("OH", "", OrderChanged, OrderStatus.ON_HOLD),
        ("RL", "", OrderChanged, OrderStatus.PLACED),
        ("CA", "", OrderCancelled, OrderStatus.CANCELLED),
        ("OC", "CA", OrderCancelled, OrderStatus.CANCELLED),
        ("DC", "IP", OrderCancelled, OrderStatus.CANCELLED),
        ("HD", "SC", OrderChanged, OrderStatus.ON_HOLD),
        ("RL", "IP", OrderChanged, OrderStatus.IN_PROGRESS),
        ("SC", "HD", OrderChanged, OrderStatus.ON_HOLD),
        ("SC", "A", OrderChanged, OrderStatus.IN_PROGRESS),
        ("XO", "DC", OrderCancelled, OrderStatus.CANCELLED),
        ("HD", "CA", OrderCancelled, OrderStatus.CANCELLED),
        ("RU", "", OrderCancelled, OrderStatus.CANCELLED),
    ],
)
def test_order_control_and_status(orc_1: str, orc_5: str, kind: type[OrderEvent], status: OrderStatus) -> None:
    [order] = read(NEW.replace("ORC|NW|PL1|FI1", f"ORC|{orc_1}|PL1|FI1||{orc_5}"))
    assert (type(order), order.status) == (kind, status)


def test_a_replaced_order_is_cancelled_by_the_one_that_replaces_it() -> None:
    old, new = read(f"{MSH}\r{PID}\rORC|RP|OLD\rOBR|1|OLD\rORC|RO|NEW\rOBR|1|NEW\r")
    assert (type(old), type(new)) == (OrderCancelled, OrderPlaced)


def _replacing(*codes_and_numbers: str) -> dict[str, list[str]]:
    """What each RO of a message replaces, by placer number."""
    groups = "".join(f"ORC|{told.replace(' ', '|')}\rOBR|1\r" for told in codes_and_numbers)
    return {
        str(order.placer_order_number): [str(one.placer_order_number) for one in order.replaces]
        for order in read(f"{MSH}\r{PID}\r{groups}")
        if order.replaces
    }


def test_a_replacing_order_names_what_it_replaces() -> None:
    assert _replacing("RP A", "RO B") == {"B^HOSPITAL": ["A^HOSPITAL"]}
    assert _replacing("RP A", "RP B", "RO C", "RO D", "RP E", "RO F", "NW G") == {
        "C^HOSPITAL": ["A^HOSPITAL", "B^HOSPITAL"],
        "D^HOSPITAL": ["A^HOSPITAL", "B^HOSPITAL"],
        "F^HOSPITAL": ["E^HOSPITAL"],
    }
    assert _replacing("RU A", "RO B") == {"B^HOSPITAL": ["A^HOSPITAL"]}
    assert _replacing("RO B", "RP A") == {"B^HOSPITAL": ["A^HOSPITAL"]}, "the wrong way round"
    assert _replacing("NW A", "RO B", "XO C") == {}
    assert _replacing("RP A", "RO A") == {}, "in its own place"
    [_, new] = read(f"{MSH}\r{PID}\rORC|RP|A|FA\rOBR|1\rORC|RO|B|FB\rOBR|1\r")
    assert [str(one.accession_number) for one in new.replaces] == ["FA^RIS"]


def test_an_order_replaced_in_its_own_place_ends_as_placed() -> None:
    assert [type(one) for one in read(f"{MSH}\r{PID}\rORC|RP|A\rOBR|1\rORC|RO|A\rOBR|1\r")] == [OrderCancelled, OrderPlaced]


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ("ORC|NW|PL1|FI1^FILLER\rOBR||||||||||||||||||ACC1", AccessionNumber(value="ACC1", assigner="RIS")),
        ("ORC|NW|PL1|FI1^FILLER\rOBR||||\rIPC|ACC2^PACS", AccessionNumber(value="ACC2", assigner="PACS")),
        ("ORC|NW|PL1|FI1^FILLER\rOBR||||\rIPC|ACC2", AccessionNumber(value="ACC2", assigner="RIS")),
        ("ORC|NW|PL1|FI1^FILLER\rOBR||||", AccessionNumber(value="FI1", assigner="RIS")),
        ("ORC|NW|PL1\rOBR|||FI2^FILLER", AccessionNumber(value="FI2", assigner="RIS")),
        ("ORC|NW|PL1\rOBR||", None),
        ('ORC|NW|PL1\rOBR||||||||||||||||||""', None),
    ],
)
def test_where_the_accession_number_is(segments: str, expected: AccessionNumber | None) -> None:
    """A namespace in ORC-3 qualifies the filler order number, not the accession number."""
    [order] = read(f"{MSH}\r{PID}\r{segments}\r")
    assert order.accession_number == expected


def test_numbers_without_assigner_get_the_sites_and_universal_ids_are_taken() -> None:
    [order] = read(f"{MSH}\r{PID}\rORC|NW|PL1|FI1^^1.2.3^ISO\rOBR|1\r")
    assert order.placer_order_number == PlacerOrderNumber(value="PL1", assigner="HOSPITAL")
    assert order.filler_order_number == FillerOrderNumber(value="FI1", assigner="1.2.3")
    assert order.patients == (
        PatientIdentifier(value="P1", assigner="MPI"),
        PatientIdentifier(value="P2", assigner="HOSPITAL"),
    )
    assert order.sender.sequence_number == 7


@pytest.mark.parametrize(
    ("msh_13", "expected"), [("42", 42), ("9" * 15, 10**15 - 1), ("9" * 16, None), ("9" * 5000, None), ("-1", None)]
)
def test_sequence_number(msh_13: str, expected: int | None) -> None:
    """A number that neither Python nor a database would take is none: it must not look like a fault of ours."""
    [order] = read(NEW.replace("|2.5.1|7", f"|2.5.1|{msh_13}"))
    assert order.sender.sequence_number == expected


def test_several_groups_in_one_message() -> None:
    found = read(
        f"{MSH}\r{PID}\rORC|NW|PL1\rOBR|1|||||||||||||||||ACC1\rORC|NW|PL2\rTQ1|||||||||S^Stat\rOBR|2|||||||||||||||||ACC2\rZDS|1.2.3^^Application^DICOM\r"
    )
    assert [str(order.accession_number) for order in found] == ["ACC1^RIS", "ACC2^RIS"]
    assert [order.priority for order in found] == [Priority.ROUTINE, Priority.STAT]
    assert [order.study_instance_uid for order in found] == ["1.2.3", "1.2.3"], "one ZDS at the end is for all"
    assert len({order.id for order in found}) == 2


def test_a_second_obr_under_one_orc_has_its_own_numbers() -> None:
    found = read(f"{MSH}\r{PID}\rORC|NW|PL1|FI1\rOBR|1|PL1|FI1\rOBR|2|PL2|FI2\r")
    assert [str(order.placer_order_number) for order in found] == ["PL1^HOSPITAL", "PL2^HOSPITAL"]
    assert [str(order.accession_number) for order in found] == ["FI1^RIS", "FI2^RIS"]


@pytest.mark.parametrize(
    ("orc_9", "msh_7", "expected"),
    [
        ("20260701080000", "20260701090000", datetime(2026, 7, 1, 6, tzinfo=UTC)),
        ("202601010800+0530", "20260101090000", datetime(2026, 1, 1, 2, 30, tzinfo=UTC)),
        ("20260101", "20260101090000", datetime(2026, 1, 1, 8, tzinfo=UTC)),
        ("yesterday", "20260101090000.25", datetime(2026, 1, 1, 8, 0, 0, 250000, tzinfo=UTC)),
        ("", "20261399", RECEIVED),
        ("00010101000000+1400", "", RECEIVED),
    ],
)
def test_when_it_occurred(orc_9: str, msh_7: str, expected: datetime) -> None:
    """ORC-9, else MSH-7, else receipt; a day without a time orders nothing within that day."""
    [order] = read(NEW.replace("20260101120000", msh_7).replace("ORC|NW|PL1|FI1", f"ORC|NW|PL1|FI1||||||{orc_9}"))
    assert order.sender.occurred_at == expected


def test_an_order_with_a_placer_number_alone_is_kept() -> None:
    [order] = read(f"{MSH}\r{PID}\rORC|NW|PL1\rOBR|1\r")
    assert order.accession_number is None
    assert order.filler_order_number is None


def test_no_number_at_all() -> None:
    with pytest.raises(MissingIdentifier, match="group 2"):
        read(f"{MSH}\r{PID}\rORC|NW|PL1\rOBR|1\rORC|NW\rOBR|2||||||||||||||||\r")


def test_an_empty_orc_is_a_notice_and_prior_results_are_no_orders() -> None:
    assert read(f"{MSH}\r{PID}\rORC|\rOBR|1||FI1\r") == []
    assert len(read(f"{NEW}PID|||P1\rORC|PR|OLD\rOBR|1|OLD\r")) == 1


def test_refusals_name_the_place_and_no_content() -> None:
    with pytest.raises(UnsupportedMessage, match="ORC-1 of group 1") as refused:
        read(NEW.replace("ORC|NW", "ORC|ZZSECRET"))
    assert "SECRET" not in str(refused.value)
    with pytest.raises(MalformedMessage, match="ORC"):
        read(f"{MSH}\r{PID}\rOBR|1|PL1\r")
    with pytest.raises(MalformedMessage, match="ORC-2") as refused_too:
        read(NEW.replace("PL1", "SECRET" * 50))
    assert "SECRET" not in str(refused_too.value)
    assert refused_too.value.__cause__ is None
    assert refused_too.value.__suppress_context__


def test_an_undecodable_byte_refuses_an_identifier_but_not_a_name() -> None:
    message = NEW.replace("P2", "P2||Name").encode().replace(b"Name", b"M\xfcller")
    [order] = read(message)
    assert order.patients[0].value == "P1"
    with pytest.raises(MalformedMessage, match=r"PID-3: holds a byte that is not UNICODE UTF-8, at offset \d+"):
        read(message.replace(b"P1^", b"P\xfc^"))


@pytest.mark.parametrize(
    ("msh_18", "default", "told"),
    [
        ("BIG-5", "ASCII", "BIG-5"),
        (" ", "BIG-5", "BIG-5"),
        ("ISO IR100", "ASCII", None),
        ("ISO IR14~ISO IR87", "ASCII", "ISO IR14~ISO IR87"),
    ],
)
def test_a_character_set_is_called_what_its_sender_calls_it(msh_18: str, default: str, told: str | None) -> None:
    data = NEW.replace(MSH, f"{MSH}|||||{msh_18}").encode().replace(b"P1^", b"P\xff^")
    site = Site(default_assigner="H", default_charset=default)
    if told is None:
        assert read(data, site)[0].patients[0].value == "Pÿ"
    else:
        with pytest.raises(MalformedMessage, match=f"PID-3: holds a byte that is not {told}, at offset {data.index(0xFF)}$"):
            read(data, site)


def test_a_study_uid_that_is_none_is_left_out() -> None:
    [order] = read(NEW + "ZDS|1.2..3^^Application^DICOM\r")
    assert order.study_instance_uid is None


@pytest.mark.parametrize("escaped", ["\\.br\\", "\\X07\\", "\x07"])
def test_a_control_character_is_no_part_of_an_identifier(escaped: str) -> None:
    with pytest.raises(MalformedMessage, match="ORC-2: holds a control character"):
        read(NEW.replace("PL1", f"PL{escaped}1"))


@pytest.mark.parametrize("nul", ["\0", "\\X00\\"])
def test_a_nul_is_substituted_in_text(nul: str) -> None:
    [order] = read(NEW.replace("Chest", f"Ch{nul}st"))
    assert order.service_text == "Ch\N{REPLACEMENT CHARACTER}st"


@pytest.mark.parametrize("nul", ["\0", "\\X00\\", "\\XFF\\"])
def test_a_nul_or_half_character_in_an_identifier_refuses_it(nul: str) -> None:
    with pytest.raises(MalformedMessage, match="PID-3"):
        read(NEW.replace("P2", f"P{nul}2"))
