"""Acknowledgements: the sender's own words back, and nothing of the patient."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hl7apy.parser import parse_message

from connectors.mllp.acknowledgement import INTERNAL, NOT_HL7, AcknowledgementCode, acknowledge, read_acknowledgement
from schemas.errors import MalformedMessage
from schemas.hl7v2.header import Header

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MESSAGE = b"MSH|^~\\&|RIS|H1|ENGINE|H2|20260101||ORM^O01|C-1|T|2.5.1||||||8859/1\nPID|||SECRET\rORC|NW\n"


def answer(message: bytes = MESSAGE, code: AcknowledgementCode = AcknowledgementCode.ACCEPT, condition: object = None) -> bytes:
    return acknowledge(Header.read(message), code, AT, condition)  # type: ignore[arg-type]


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


def test_the_same_receipt_gives_the_same_answer() -> None:
    assert answer() == answer()
    assert answer(MESSAGE.replace(b"C-1", b"C-2"))[-5:] != answer()[-5:]


def test_err_says_what_and_where_from_2_5_on() -> None:
    content = answer(code=AcknowledgementCode.ERROR, condition=INTERNAL)
    assert b"\rERR|||207^Application internal error^HL70357|E\r" in content
    ack = read_acknowledgement(content)
    assert (ack.code, ack.message_control_id, ack.condition, ack.accepted) == ("AE", "C-1", "207", False)


@pytest.mark.parametrize("version", [b"2.3", b"2.4", b""])
def test_older_senders_read_it_in_msa_3(version: bytes) -> None:
    content = answer(MESSAGE.replace(b"2.5.1", version), AcknowledgementCode.ERROR, INTERNAL)
    assert b"\rMSA|AE|C-1|Application internal error\r" in content
    assert b"ERR" not in content
    assert b"|ACK|" in content


def test_own_separators_and_control_id_come_back_byte_for_byte() -> None:
    message = b"MSH#*!%$#RIS#H#E#F###ORM*O01#\xb3\\|^\xa5#P#2.5#####\r"
    content = acknowledge(Header.read(message), AcknowledgementCode.REJECT, AT, NOT_HL7)
    assert content.startswith(b"MSH#*!%$#E#F#RIS#H#")
    assert b"\rMSA#AR#\xb3\\|^\xa5\r" in content
    assert b"\rERR##MSH*1#100*Segment sequence error*HL70357#E\r" in content


def test_what_has_no_header_is_refused_in_the_abstract() -> None:
    ack = read_acknowledgement(acknowledge(None, AcknowledgementCode.REJECT, AT, NOT_HL7))
    assert (ack.code, ack.message_control_id, ack.condition) == ("AR", "", "100")


def test_an_answer_without_msa_is_none() -> None:
    with pytest.raises(MalformedMessage):
        read_acknowledgement(MESSAGE)
