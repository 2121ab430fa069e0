"""Acknowledgements: the sender's own words back, and nothing of the patient."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedMessage
from schemas.hl7v2.acknowledgement import (
    INTERNAL,
    NOT_HL7,
    REQUIRED_FIELD_MISSING,
    AcknowledgementCode,
    Condition,
    acknowledge,
    read_acknowledgement,
)
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MESSAGE = b"MSH|^~\\&|RIS|H1|ENGINE|H2|20260101||ORM^O01|C-1|T|2.5.1||||||8859/1\nPID|||SECRET\rORC|NW\n"
TYPE = Condition("200", "Unsupported message type", "MSH^1^9^1^1")


def answer(
    message: bytes = MESSAGE, code: AcknowledgementCode = AcknowledgementCode.ACCEPT, *conditions: Condition, accept: str = ""
) -> bytes:
    return acknowledge(Header.read(message), code, AT, *conditions, accept=accept)


def test_accept_as_an_independent_reader_sees_it() -> None:
    ack = parse_message(answer().decode("latin-1"), find_groups=False)
    assert (ack.msh.msh_3.value, ack.msh.msh_4.value) == ("ENGINE", "H2")
    assert (ack.msh.msh_5.value, ack.msh.msh_6.value) == ("RIS", "H1")
    assert ack.msh.msh_7.value == "20260102030405+0000"
    assert ack.msh.msh_9.value == "ACK^O01^ACK"
    assert (ack.msh.msh_11.value, ack.msh.msh_12.value, ack.msh.msh_18.value) == ("T", "2.5.1", "8859/1")
    assert (ack.msa.msa_1.value, ack.msa.msa_2.value) == ("AA", "C-1")
    assert 0 < len(ack.msh.msh_10.value) <= 20


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_whatever_the_line_ends_nothing_of_the_patient_comes_back(end: bytes) -> None:
    for code in AcknowledgementCode:
        content = answer(MESSAGE.replace(b"\n", end).replace(b"\r", end), code, INTERNAL)
        assert b"SECRET" not in content
        assert b"PID" not in content


def test_the_same_receipt_gives_the_same_answer_and_each_answer_its_own_id() -> None:
    assert answer() == answer()
    ids = [Header.read(answer(code=code)).field(10) for code in AcknowledgementCode]
    ids.append(Header.read(answer(MESSAGE.replace(b"C-1", b"C-2"))).field(10))
    assert len(set(ids)) == len(ids) == 7


def test_err_says_what_and_where_from_2_5_on() -> None:
    content = answer(MESSAGE, AcknowledgementCode.ERROR, INTERNAL, TYPE)
    assert content.endswith(
        b"\rERR|||207^Application internal error^HL70357|E\r"
        b"ERR||MSH^1^9^1^1|200^Unsupported message type^HL70357|E\r"
    )  # fmt: skip
    ack = read_acknowledgement(content)
    assert (ack.code, ack.message_control_id, ack.condition, ack.accepted) == ("AE", "C-1", "207", False)


@pytest.mark.parametrize("version", [b"2.1", b"2.3", b"2.3.1", b"2.4", b""])
def test_older_senders_have_it_in_err_1_and_msa_3(version: bytes) -> None:
    content = answer(MESSAGE.replace(b"2.5.1", version), AcknowledgementCode.ERROR, TYPE, INTERNAL)
    assert b"\rMSA|AE|C-1|Unsupported message type\r" in content
    assert content.endswith(b"\rERR|MSH^1^9^200&Unsupported message type&HL70357~^^^207&Application internal error&HL70357\r")
    assert b"|ACK|" in content
    assert Header.read(content).field(12).encode() == (version or b"2.4"), "of 2.5 it would be ERR-3"
    assert read_acknowledgement(content).condition == "200"


def test_err_1_as_an_independent_reader_sees_it() -> None:
    content = answer(MESSAGE.replace(b"2.5.1", b"2.3"), AcknowledgementCode.REJECT, TYPE)
    ack = parse_message(content.decode("latin-1"), find_groups=False)
    location = ack.err.err_1
    assert [location.children[number].value for number in range(3)] == ["MSH", "1", "9"]
    assert location.children[3].to_er7().startswith("200&Unsupported")


def test_own_separators_and_control_id_come_back_byte_for_byte() -> None:
    message = b"MSH#*!%$#RIS#H#E#F###ORM*O01#\xb3\\|^\xa5#P#2.5#####\r"
    content = acknowledge(Header.read(message), AcknowledgementCode.REJECT, AT, NOT_HL7)
    assert content.startswith(b"MSH#*!%$#E#F#RIS#H#")
    assert b"\rMSA#AR#\xb3\\|^\xa5\r" in content
    assert b"\rERR##MSH*1#100*Segment sequence error*HL70357#E\r" in content


def test_what_has_no_header_is_refused_in_the_abstract() -> None:
    ack = read_acknowledgement(acknowledge(None, AcknowledgementCode.REJECT, AT, NOT_HL7))
    assert (ack.code, ack.message_control_id, ack.condition) == ("AR", "", "100")


@pytest.mark.parametrize("accept", ["AL", "NE"])
def test_an_application_answer_says_how_it_wants_to_be_answered(accept: str) -> None:
    told = Header.read(answer(accept=accept))
    assert (told.field(15), told.field(16), told.field(18)) == (accept, "NE", "8859/1")


def test_an_answer_without_msa_is_none() -> None:
    with pytest.raises(MalformedMessage):
        read_acknowledgement(MESSAGE)


def test_a_character_set_that_nobody_reads_is_no_hindrance() -> None:
    assert read_acknowledgement(answer(MESSAGE.replace(b"8859/1", b"KLINGON"))).message_control_id == "C-1"


def test_where_msa_6_of_2_3_tells_the_condition() -> None:
    read = read_acknowledgement(b"MSH|^~\\&|a|b|c|d|||ACK|1|P|2.3\nMSA|ar|C-1|text|||203^Unsupported version id\n")
    assert (read.code, read.condition, read.accepted) == ("AR", "203", False)


_separators = st.permutations("|^~\\&#*!%$").map(lambda marks: "".join(marks[:5]).encode())
_field = st.binary(max_size=12)


@given(
    separators=_separators,
    fields=st.lists(_field, min_size=10, max_size=20),
    code=st.sampled_from(AcknowledgementCode),
    conditions=st.lists(st.sampled_from([INTERNAL, TYPE, REQUIRED_FIELD_MISSING]), max_size=3),
    version=st.sampled_from([b"2.3", b"2.5.1", b""]),
)
def test_msa_2_is_msh_10_whatever_the_sender_writes(
    separators: bytes, fields: list[bytes], code: AcknowledgementCode, conditions: list[Condition], version: bytes
) -> None:
    """For any bytes in any field: the answer is one message, one frame, and tells code, control id and condition."""
    mark = separators[:1]
    fields[9:9] = [version]  # MSH-12
    line = mark.join([b"MSH" + separators, *fields])
    try:
        header = Header.read(line + b"\rPID" + mark * 3 + b"SECRET\r")
    except MalformedMessage:
        pytest.fail("every field separator here is one")
    content = acknowledge(header, code, AT, *conditions)
    read = read_acknowledgement(content)
    assert read.code == code
    assert read.message_control_id == header.field(10)
    assert read.condition == (conditions[0].code if conditions else "")
    assert b"SECRET" not in content
    assert b"\x1c\r" not in content
    assert content.count(b"\r") == 2 + (len(conditions) if header.component(12, 1) >= "2.5" else bool(conditions))
    assert len(Header.read(content).field(10)) == 20


@given(st.binary(max_size=80))
def test_reading_never_fails_otherwise(content: bytes) -> None:
    for data in (content, b"MSH|^~\\&" + content, b"MSH" + content + b"\rMSA" + content):
        try:
            read_acknowledgement(data)
        except MalformedMessage:
            continue


def test_a_control_id_that_ends_with_an_end_block_ends_no_frame() -> None:
    content = answer(MESSAGE.replace(b"|C-1|", b"|C1\x1c|"), AcknowledgementCode.ACCEPT)
    assert read_acknowledgement(content).message_control_id == "C1\x1c"
    assert b"\x1c\r" not in content


def test_a_control_character_is_no_field_separator() -> None:
    for mark in (b"\x0b", b"\x1c", b"\x00"):
        with pytest.raises(MalformedMessage):
            Header.read(b"MSH" + mark + b"^~\\&" + mark + b"RIS")


def test_read_as_our_own_reader_reads_any_message() -> None:
    message = Message.parse(answer(MESSAGE, AcknowledgementCode.REJECT, TYPE))
    assert (message.type, message.message_control_id) == (("ACK", "O01"), Header.read(message.raw).field(10))
    assert [segment.name for segment in message.segments] == ["MSH", "MSA", "ERR"]


@pytest.mark.parametrize("version", ["2.3", "2.5.1"])
def test_a_sender_without_encoding_characters_can_read_its_answer(version: str) -> None:
    """What stands in MSH-2's place has the letters of AR in it (found by fuzzing)."""
    header = Header.read(f"MSH|RIS2|H|E|||2026||ORM^O01|C1|P|{version}".encode())
    read = read_acknowledgement(acknowledge(header, AcknowledgementCode.REJECT, AT, NOT_HL7))
    assert (read.code, read.message_control_id, read.condition) == ("AR", "C1", "100")
