"""Splitting, escapes and character sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.hl7v2.escapes import Separators, unescape
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message

MSH = b"MSH|^~\\&|RIS|H|X|Y|20260101||ORM^O01|C1|P|2.5.1||||||"


def parse(rest: bytes, charset: bytes = b"UNICODE UTF-8") -> Message:
    return Message.parse(MSH + charset + b"\r" + rest)


@given(st.binary(max_size=200))
def test_any_bytes_after_msh_are_read_and_written_back_byte_for_byte(rest: bytes) -> None:
    data = b"MSH|^~\\&|" + rest
    try:
        message = Message.parse(data)
    except UnsupportedMessage:
        return  # it happened to name a character set
    assert bytes(message) == data
    for segment in message.segments:
        for number in range(1, 12):
            segment.value(number, 2, 2)
            assert all(repetition.text is not None for repetition in segment.repetitions(number))


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=60))
def test_no_text_of_a_segment_is_lost(line: str) -> None:
    message = parse(b"NTE|" + line.encode())
    assert message.segments[-1].line == "NTE|" + line
    assert "|".join(message.segments[-1].field(i) for i in range(line.count("|") + 2)) == "NTE|" + line


@given(st.binary(max_size=100))
def test_any_bytes_at_all_are_read_or_refused_by_name(data: bytes) -> None:
    outcome: bytes | str
    try:
        outcome = bytes(Message.parse(data))
    except (MalformedMessage, UnsupportedMessage) as error:
        outcome = error.reference
    assert outcome in (data, "MSH", "MSH-18")


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n", b"\xef\xbb\xbf\r\n"])
def test_line_ends_and_byte_order_mark(end: bytes, before: bytes) -> None:
    data = before + MSH + end + b"PID|||P1^^^MPI" + end + end + b"ZZZ|a" + end
    message = Message.parse(data)
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "ZZZ"]
    assert message.segments[1].value(3, 4) == "MPI"
    assert bytes(message) == data
    assert message.message_control_id == "C1"
    assert message.header.field(1) == "|"
    assert Header.read(data).field(10) == "C1"


def test_other_line_separators_of_unicode_are_text() -> None:
    assert len(parse("NTE|a\x0b\x1c\x85\u2028b".encode()).segments) == 2


def test_fields_repetitions_components_subcomponents() -> None:
    [_, pid] = parse(b"PID|||1^^^A&1.2.3&ISO~2^^^B|||M").segments
    assert [r.component(1) for r in pid.repetitions(3)] == ["1", "2"]
    assert (pid.value(3, 4), pid.value(3, 4, 2), pid.value(3, 9), pid.value(6), pid.value(60)) == ("A", "1.2.3", "", "M", "")


def test_own_separators_and_fewer_of_them() -> None:
    message = Message.parse(b"MSH#*!%$#RIS#H#########\rPID###1***A$B!2\r")
    pid = message.segments[1]
    assert [r.component(1) for r in pid.repetitions(3)] == ["1", "2"]
    assert pid.value(3, 4, 2) == "B"
    few = Message.parse(b"MSH|^|RIS|||||||||\rPID|||1^2~3\\F\\&4\r").segments[1]
    assert few.value(3, 2) == "2~3\\F\\&4"
    assert Separators.of("MSH|^~\\&#|A").subcomponent == "&", "2.7 adds a truncation character"


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two\.sp2\three\.sp\four", "one\ntwo\n\nthree\nfour"),
        (r"\H\loud\N\ and plain", "loud and plain"),
        (r"\X41\\X4243\|", "ABC|"),
        (r"M\XC3\\XBC\ller", "Müller"),
        (r"\Z1\ \.in+4\ \X4\ lone \ and \E", r"\Z1\ \.in+4\ \X4\ lone \ and \E"),
        (r"C:\E\F\E\x", r"C:\F\x"),
    ],
)
def test_escapes(sent: str, meant: str) -> None:
    assert unescape(sent, Separators(), "utf-8") == meant


@pytest.mark.parametrize("lines", ["100", "9999999999", "9" * 5000, "\N{ARABIC-INDIC DIGIT NINE}"])
def test_an_escape_sequence_makes_no_more_lines_than_a_page_has(lines: str) -> None:
    """Twenty bytes must not become gigabytes."""
    sent = f"one\\.sp{lines}\\two"
    assert unescape(sent, Separators(), "utf-8") == sent


def test_hex_escapes_are_bytes_of_the_messages_character_set() -> None:
    assert parse(rb"NTE|\XC7\\XC3\O", b"8859/1").segments[1].value(1) == "ÇÃO"


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])))
def test_what_is_escaped_is_read_back(text: str) -> None:
    escaped = text.translate({ord(c): f"\\{name}\\" for c, name in zip("|^~\\&", "FSRET", strict=True)})
    [repetition] = parse(b"NTE|" + escaped.encode()).segments[1].repetitions(1) or [None]
    assert (repetition.text if repetition else "") == (text if text.strip() else "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MSH",
        b"MSH|^~",
        b"MSH\rPID|1|2",
        b"MSH\n\n\n\n\n",
        b"PID|||1\rMSH|^~\\&|",
        b"GET / HTTP/1.1\r\n",
        b"MSHELLO|||||",
        "PID|^~\\&|A|B".encode("utf-16"),
    ],
)
def test_no_header(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Message.parse(data)
    with pytest.raises(MalformedMessage):
        Header.read(data)


def test_the_null_value_is_no_value() -> None:
    assert parse(b'PID|||""^^^A').segments[1].value(3) == ""
