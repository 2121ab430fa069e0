"""Batches come apart into their messages, and no byte is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mllp.batch import ENVELOPE_LIMIT, header_of, is_batch, split
from schemas.errors import MalformedMessage
from schemas.hl7v2.message import holds_second_message

FHS, BHS, BTS, FTS = b"FHS|^~\\&|RIS|H\r", b"BHS|^~\\&|RIS|H|E|F|20260101|||text|B-7\r", b"BTS|2\r", b"FTS|1\r"


def message(number: int, end: bytes = b"\r") -> bytes:
    return end.join([b"MSH|^~\\&|RIS|H|||||ORM^O01|C%d|P|2.5" % number, b"PID|1||X%d" % number, b""])


def test_each_message_with_the_lines_that_stand_before_it() -> None:
    batch = split(FHS + BHS + message(1) + message(2) + BTS + FTS)
    assert [part.content for part in batch.parts] == [message(1), message(2)]
    assert [(part.before, part.behind) for part in batch.parts] == [(FHS + BHS, b""), (b"", BTS + FTS)]
    assert not batch.miscounted


def test_several_batches_in_a_file_and_one_of_them_empty() -> None:
    content = FHS + BHS + message(1) + b"BTS|1\r" + BHS + b"BTS|0\r" + BHS + message(2) + message(3) + BTS + b"FTS|3\r"
    batch = split(content)
    assert [part.content for part in batch.parts] == [message(1), message(2), message(3)]
    assert batch.parts[1].before == b"BTS|1\r" + BHS + b"BTS|0\r" + BHS
    assert not batch.miscounted


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_line_ends_and_a_byte_order_mark(end: bytes) -> None:
    content = b"\xef\xbb\xbf" + BHS.replace(b"\r", end) + message(1, end) + b"BTS|1"
    assert is_batch(content)
    [part] = split(content).parts
    assert (part.content, part.behind) == (message(1, end), b"BTS|1")


def test_trailers_may_be_missing_and_the_first_header_too() -> None:
    assert [len(split(content).parts) for content in (BHS + message(1), FHS + message(1) + FTS, FHS + message(1))] == [1, 1, 1]


def test_a_count_that_does_not_hold_is_told() -> None:
    assert split(BHS + message(1) + BTS).miscounted
    assert not split(BHS + message(1) + b"BTS|many\r").miscounted
    assert not split(BHS + message(1) + b"BTS\r").miscounted


@pytest.mark.parametrize(
    "content",
    [
        BHS + BTS,
        FHS + FTS,
        FHS,
        BHS + BHS + message(1),
        FHS + FHS + message(1),
        BHS + message(1) + FHS + message(2),
        BHS + message(1) + FTS + message(2),
        FHS + BTS + message(1),
        BHS + b"PID|1\r" + message(1),
        BHS + message(1) + BTS + b"OBX|1\r",
        b"BHS|" + b"x" * ENVELOPE_LIMIT + b"\r" + message(1),
        BHS + b"MSH|^~\\&|\r" * 50_000,
    ],
)
def test_what_is_no_batch(content: bytes) -> None:
    assert is_batch(content)
    with pytest.raises(MalformedMessage):
        split(content)


def test_what_is_none_at_all() -> None:
    for content in (message(1), b"", b"BHSX|", b"xBHS|", b"\x00BHS|", b"MSH|^~\\&|BHS|\r"):
        assert not is_batch(content)


def test_an_answer_to_the_whole_names_the_control_id_of_the_batch() -> None:
    header = header_of(b"\r\n" + BHS + BTS, "ASCII")
    assert header is not None
    assert [header.field(number) for number in (3, 4, 5, 6, 9, 10, 11, 12)] == ["RIS", "H", "E", "F", "", "B-7", "", ""]
    assert header_of(b"BHS\rBTS\r", "ASCII") is None
    hospital = "山醫院".encode("big5")  # its last byte is a field separator
    header = header_of(BHS.replace(b"|H|", b"|" + hospital + b"|"), "BIG-5")
    assert header is not None
    assert (header.field(4).encode("latin-1"), header.field(10)) == (hospital, "B-7")


def test_two_messages_glued_together() -> None:
    assert not holds_second_message(message(1))
    assert not holds_second_message(b"\xef\xbb\xbf" + message(1) + b"NTE|1||MSH|of this\r")
    for end in (b"\r", b"\n", b"\r\n"):
        assert holds_second_message(b"\xef\xbb\xbf" + message(1, end) + message(2, end))
        assert holds_second_message(message(1, end) + b"\xef\xbb\xbf" + message(2, end)), "two files, glued"


_lines = st.lists(st.sampled_from([FHS, BHS, message(1), message(2), BTS, FTS, b"PID|1\r", b"\n", b"MSH", b"BTS"]), max_size=8)


@given(start=st.sampled_from([FHS, BHS, b"\r\nBHS|", b"\xef\xbb\xbfFHS#"]), lines=_lines, rest=st.binary(max_size=6))
def test_every_byte_is_in_exactly_one_part(start: bytes, lines: list[bytes], rest: bytes) -> None:
    content = start + b"".join(lines) + rest
    assert is_batch(content)
    header_of(content, "ASCII")
    try:
        batch = split(content)
    except MalformedMessage:
        return
    assert b"".join(part.before + part.content + part.behind for part in batch.parts) == content
    assert all(part.content.lstrip(b"\xef\xbb\xbf").startswith(b"MSH") for part in batch.parts)
