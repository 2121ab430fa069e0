"""Table 0211: what is read as what, and what becomes of bytes that do not decode."""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.hl7v2 import cns11643
from schemas.hl7v2.charset import codec_of, decode, offsets
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message

MSH = b"MSH|^~\\&|RIS|H|X|Y|20260101||ORM^O01|C1|P|2.5.1||||||"
SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"

#: every name of table 0211 (v2.5.1, v2.8.2) and spellings of the field; a name in that set
NAMES = {
    b"": "Müller",
    b"ASCII": "Mueller",
    b"ISO IR6": "Mueller",
    b"8859/1": "Müller",
    b"8859/2": "Dvořák",
    b"8859/3": "Ĉiuĵaŭde",
    b"8859/4": "Ķēniņš",
    b"8859/5": "Иванов",
    b"8859/6": "محمد",
    b"8859/7": "Γεωργίου",
    b"8859/8": "כהן",
    b"8859/9": "Yılmaz",
    b"8859/10": "Þórðarson",
    b"8859/11": "สมชาย",
    b"8859/13": "Žukauskas",
    b"8859/14": "Ŵyn",
    b"8859/15": "Lefœbvre€",
    b"ISO-8859-1": "Müller",
    b"ISO IR100": "Müller",
    b"ISO IR144": "Иванов",
    b"UNICODE": "Müller山",
    b"UNICODE UTF-8": "Müller山",
    b"UTF-8": "Müller山",
    b"ISO IR192": "Müller山",
    b"GB 18030-2000": "山田𠀀",
    b"GB 18030": "山田",
    b"BIG-5": "許功蓋",
    b"CNS 11643-1992": "許功蓋堃",
    b"KS X 1001": "홍길동",
    b"ISO IR149": "홍길동",
    b"ISO IR14": "ﾔﾏﾀﾞ",
    b"ISO IR87": "山田太郎",
    b"~ISO IR87": "山田太郎",
    b"ISO IR159": "丂山",
    b"ISO IR14~ISO IR87~ISO IR159": "山田ﾀ",
    b"8859/1~UNICODE UTF-8": "Müller",
}


def parse(rest: bytes, charset: bytes = b"UNICODE UTF-8") -> Message:
    return Message.parse(MSH + charset + b"\r" + rest)


@pytest.mark.parametrize("charset", NAMES)
def test_character_sets(charset: bytes) -> None:
    name = NAMES[charset]
    message = parse(b"PID|||P1||" + name.encode(codec_of(charset.decode(), "UNICODE UTF-8")) + b"^A", charset)
    assert message.segments[1].value(5) == name
    assert message.segments[1].value(5, 2) == "A"
    assert message.undecodable_at is None


@pytest.mark.parametrize("charset", [b"UNICODE UTF-16", b"UTF-32", b"8859/12", b"KLINGON"])
def test_sets_that_are_not_read_are_refused(charset: bytes) -> None:
    """A header that could be read byte by byte is no UTF-16."""
    with pytest.raises(UnsupportedMessage, match="MSH-18") as refused:
        parse(b"PID|", charset)
    assert charset.decode() not in str(refused.value)
    assert Header.read(MSH + charset).sender_key("ASCII") == "RIS|H", "the sender has a key all the same"
    with pytest.raises(UnsupportedMessage, match="default character set"):
        codec_of("", charset.decode())


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("msh_18", ["", "UNICODE UTF-16", "8859/1"])
def test_utf_16_and_utf_32_are_known_by_their_bytes(codec: str, mark: str, msh_18: str) -> None:
    data = (mark + MSH.decode() + msh_18 + "\rPID|||P1||山田^太郎\\X" + "é".encode(codec).hex() + "\\").encode(codec)
    message = Message.parse(data, "8859/1")
    assert message.segments[1].value(5) == "山田"
    assert message.segments[1].value(5, 2) == "太郎é"
    assert (message.undecodable_at, bytes(message), message.message_control_id) == (None, data, "C1")


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_wide_message_behind_two_byte_order_marks_is_refused(codec: str) -> None:
    """As in UTF-8; its separators were read one letter too early, and so it was of no type that is used."""
    with pytest.raises(MalformedMessage, match="do not begin with an MSH"):
        Message.parse(("\ufeff\ufeff" + MSH.decode() + "\r").encode(codec))


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-32-be"])
def test_half_a_wide_character_and_a_nul_are_substituted(codec: str) -> None:
    head = "\ufeff" + MSH.decode() + "\rPID|||P1||a"
    message = Message.parse((head + "\0b").encode(codec) + b"\0")
    assert message.segments[1].value(5) == f"a{SUBSTITUTE}b{SUBSTITUTE}"
    assert message.undecodable_at == len(head.encode(codec))


def test_big5_trail_bytes_are_no_escapes_and_no_separators() -> None:
    """The second bytes of 許功蓋 are 0x5C; a user-defined character may end with 0x7C."""
    assert "許功蓋".encode("cp950").count(b"\\") == 3
    data = b"PID|||P1||\xfa\x7c\xa4\xa4^A||X"
    message = parse(data, b"BIG-5")
    pid = message.segments[1]
    assert pid.value(5) == f"{SUBSTITUTE}中"
    assert pid.value(7) == "X"
    assert message.undecodable_at == len(MSH + b"BIG-5\r") + data.index(b"\xfa")


@pytest.mark.parametrize(
    ("charset", "sent", "read"),
    [
        (b"ASCII", b"M\xfc", "M?"),
        (b"UNICODE UTF-8", b"M\xfc", "M?"),
        (b"8859/3", b"M\xa5", "M?"),
        (b"BIG-5", b"M\xff", "M?"),
        (b"BIG-5", b"M\xfa\x40", "M?"),
        (b"GB 18030-2000", b"M\xff", "M?"),
        (b"GB 18030-2000", b"M\xfe\x39\xfe\x39", "M?"),
        (b"KS X 1001", b"M\xc9\xa1", "M?"),
        (b"CNS 11643-1992", b"M\xfe\xfe", "M?"),
        (b"CNS 11643-1992", b"M\x8e\xa5\xfe\xfe", "M?"),
        (b"CNS 11643-1992", b"M\x8e", "M?"),
        (b"CNS 11643-1992", b"M\x1b$)G\x0e\x7d\x7d\x0f", "M?"),
        (b"ISO IR87", b"M\x1b$B\x7c\x7c\x1b(B", "M?"),
    ],
)
def test_a_character_that_does_not_decode_is_substituted_whole(charset: bytes, sent: bytes, read: str) -> None:
    message = parse(b"PID|||P1||" + sent + b"|F", charset)
    assert (message.segments[1].value(5), message.segments[1].value(6)) == (read.replace("?", SUBSTITUTE), "F")
    assert message.undecodable_at is not None


def test_katakana_in_eight_bits_and_korean_designation() -> None:
    assert parse(b"PID|||||\x1b)I\xd4\xcf\xc0\xde", b"ISO IR13").segments[1].value(5) == "ﾔﾏﾀﾞ"
    assert parse(b"PID|||||\x1b$)C" + "김".encode("cp949"), b"ISO IR149").segments[1].value(5) == "김"
    assert parse(b"PID|||||" + "똠믜".encode("cp949"), b"KS X 1001").segments[1].value(5) == "똠믜", "not in KS X 1001 itself"


def test_cns_11643_agrees_with_the_iconv_command() -> None:
    text = "許功蓋王小明堃犇|abc"
    for encoding, sent in (("EUC-TW", text), ("ISO-2022-CN-EXT", "許功蓋王小明|abc")):
        done = subprocess.run(["iconv", "-f", "UTF-8", "-t", encoding], input=sent.encode(), capture_output=True, check=True)
        assert decode(done.stdout, "cns11643") == (sent, None)
    assert decode(("許" * 100_000).encode("cns11643"), "cns11643") == ("許" * 100_000, None), "more than one call of iconv"
    with pytest.raises(UnicodeEncodeError):
        "\N{PILE OF POO}".encode("cns11643")


def test_a_platform_whose_iconv_lacks_cns_11643_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: ctypes.c_void_p(-1).value

    monkeypatch.setattr(cns11643, "_library", Without)
    with pytest.raises(LookupError, match="EUC-TW"):
        b"a".decode("cns11643")
    assert cns11643._search("cns11643") is None


CODECS = [*sorted({codec_of(name.decode(), "UTF-8") for name in NAMES}), "utf-16-le", "utf-32-be"]


@given(st.sampled_from(CODECS), st.binary(max_size=60))
def test_every_substitute_has_its_offset(codec: str, data: bytes) -> None:
    text, first = decode(data, codec)
    places = offsets(data, codec)
    assert len(places) == text.count(SUBSTITUTE)
    known = [place for place in places if place is not None]
    assert known == sorted(set(known))
    assert (known[0] if known else None) == first
    assert all(0 <= place < len(data) for place in known)
    assert (first is None) == (text.encode("utf-8", "strict").decode() == text and not known)


def test_the_offset_of_one_field() -> None:
    """Not that of the first in the message: a name before it may hold another."""
    data = MSH + b"UNICODE UTF-8\rPID|||P1||M\xfcller\xef\xbf\xbd^\x00|\xff|\xef\xbf\xbd|\\XFF\\\rZZZ|\xfe\r"
    for message in (Message.parse(data), Message.parse(b"\xef\xbb\xbf" + data)):
        mark = len(message.raw) - len(data)
        pid, zzz = message.segments[1:]
        assert message.undecodable_at == mark + data.index(b"\xfc")
        assert message.undecodable_in(pid, 5) == mark + data.index(b"\xfc")
        assert message.undecodable_in(pid, 6) == mark + data.index(b"\xff")
        assert message.undecodable_in(zzz, 1) == mark + data.index(b"\xfe")
        assert [message.undecodable_in(pid, field) for field in (3, 7, 8)] == [None] * 3, "sent as such, or escaped"
