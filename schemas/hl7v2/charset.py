"""MSH-18 (HL7 v2.5.1 2.14.9.18, table 0211) as Python codecs, and what becomes of bytes that do not decode.

Decoding comes before splitting: trail bytes of Big5 and GB 18030 look like `\\`, `|` and `^`.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from schemas.errors import UnsupportedMessage
from schemas.hl7v2 import cns11643

#: table 0211 (2.3 to 2.9) and spellings seen in the field, upper case without blanks, hyphens and underscores -> codec
_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    **{f"ISO8859{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    # the DICOM terms (PS3.3 C.12.1.1.2) of the same parts
    **{f"ISOIR{number}": f"iso8859-{part}" for number, part in ((100, 1), (101, 2), (109, 3), (110, 4), (144, 5), (127, 6))},
    **{f"ISOIR{number}": f"iso8859-{part}" for number, part in ((126, 7), (138, 8), (148, 9), (166, 11), (203, 15))},
    "UNICODE": "utf-8",  # before 2.7; a header that can be read is no UTF-16
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "ISOIR192": "utf-8",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    # as Windows writes it in Taiwan; the Hong Kong set would read user-defined characters as other, wrong ones
    "BIG5": "cp950",
    "CNS116431992": cns11643.NAME,
    "CNS11643": cns11643.NAME,
    # as Windows writes it in Korea: KS X 1001 and the syllables it lacks
    "KSX1001": "cp949",
    "ISOIR149": "cp949",
    # Japanese sets are switched by ISO 2022 escape sequences, whatever the order in which MSH-18 names them
    "ISOIR13": "iso2022_jp_ext",
    "ISOIR14": "iso2022_jp_ext",
    "ISOIR87": "iso2022_jp_ext",
    "ISOIR159": "iso2022_jp_ext",
}
#: what Message.parse knows by the first bytes, longest first
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
#: which of the first four bytes are NUL when the first character is one of ASCII
_NUL_PATTERNS = {(1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be", (1, 3): "utf-16-le", (0, 2): "utf-16-be"}
#: ISO 2022 designation of KS X 1001 to G1 (DICOM "ISO 2022 IR 149"): says nothing that MSH-18 did not say
_KOREAN_DESIGNATION = "\x1b$)C"
#: stands for what did not decode
SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"
#: around the offset of an undecodable byte: two that can stand in no text
_MARKS = "\ud800", "\udbff"
_MARKED = re.compile(f"{_MARKS[0]}([0-9]+){_MARKS[1]}|[{SUBSTITUTE}\0]")


def codec_of(names: str, default: str, repetition_separator: str = "~") -> str:
    """The codec for the raw text of MSH-18 (repetitions and all); `default` is a name of table 0211 for an empty MSH-18.

    Raises UnsupportedMessage for a set that is not read: UTF-16 and UTF-32 are known by their bytes, not by MSH-18, for a
    header that could be read is neither."""
    if not names.strip():
        return _codec("~", (default,), "the default character set")
    return _codec(repetition_separator, tuple(names.split(repetition_separator)), "MSH-18")


@lru_cache(maxsize=256)
def _codec(separator: str, names: tuple[str, ...], place: str) -> str:
    found = ""
    for name in names:
        plain = name.strip().upper().replace(" ", "").replace("-", "").replace("_", "")
        if not plain:
            continue  # "~ISO IR87": the first repetition empty means ASCII
        codec = _CODECS.get(plain)
        try:
            if codec is None:
                raise LookupError
            codecs.lookup(codec)
        except LookupError:
            raise UnsupportedMessage("read", place, "names a character set that is not read") from None
        if not found or codec.startswith("iso2022"):
            found = codec
    return found or "ascii"


#: characters of several bytes, one of which may look like a separator
_HIDING = {
    "cp950": re.compile("[\x81-\xfe][\x40-\x7e\xa1-\xfe]"),
    "gb18030": re.compile("[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[0-9][\x81-\xfe][0-9])"),
    # between a designation and the next one, or the shifts out and in
    "iso2022_jp_ext": re.compile(r"\x1b\$\(?[@ABD](?:[!-~]{2})*(?=\x1b)"),
    cns11643.NAME: re.compile(r"\x0e(?:[!-~]{2})*\x0f"),
}


def hide(text: str, codec: str) -> str:
    """`text` is bytes read as Latin-1, one character a byte. As long as before, but of its separators only those are left that
    are no part of a character."""
    hiding = _HIDING.get(codec)
    return text if hiding is None else hiding.sub(lambda character: "\x80" * len(character[0]), text)


def wide_codec_of(data: bytes) -> tuple[str, int]:
    """The codec of a UTF-16 or UTF-32 message ("" for any other) and the length of the byte order mark of any; without one, by
    how its first characters, of ASCII both, stand in the bytes."""
    for mark, codec in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return codec, len(mark)
    return _NUL_PATTERNS.get(tuple(at for at, byte in enumerate(data[:4]) if not byte), ""), 0


def _length(error: UnicodeDecodeError) -> int:
    """How many bytes one substitute stands for: a whole character of a multi-byte set. Python's own "replace" would take only
    the lead byte and leave a trail byte 0x7C standing as a field separator (user-defined Big5 characters in names are everyday
    in Taiwan)."""
    if error.encoding not in ("cp950", "gb18030", "cp949"):
        return error.end - error.start
    lead, *trail = error.object[error.start : error.start + 4]
    if not 0x81 <= lead <= 0xFE or not trail:
        return 1
    if error.encoding == "gb18030" and 0x30 <= trail[0] <= 0x39:
        four = len(trail) == 3 and 0x81 <= trail[1] <= 0xFE and 0x30 <= trail[2] <= 0x39
        return 4 if four else 1
    return 2 if 0x40 <= trail[0] <= 0x7E or 0x80 <= trail[0] <= 0xFE else 1


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _katakana(error) or SUBSTITUTE, error.start + _length(error)


def _mark(error: UnicodeError) -> tuple[str, int]:
    text, go_on = _substitute(error)
    if text == SUBSTITUTE and isinstance(error, UnicodeDecodeError):
        text = f"{_MARKS[0]}{error.start}{_MARKS[1]}"
    return text, go_on


def _katakana(error: UnicodeDecodeError) -> str:
    """JIS X 0201 in its eight bit form (ISO IR 13), which Python's ISO 2022 codec knows in seven bits only."""
    byte: int = error.object[error.start]
    return chr(0xFF61 - 0xA1 + byte) if error.encoding.startswith("iso2022") and 0xA1 <= byte <= 0xDF else ""


codecs.register_error("radstream-substitute", _substitute)
codecs.register_error("radstream-mark", _mark)


def decode(data: bytes, codec: str) -> tuple[str, int | None]:
    """The text, and the offset of the first byte that did not decode and was substituted by U+FFFD (None: all did).

    A NUL counts as undecodable: no character of a message, and neither PostgreSQL nor FHIR can hold it."""
    try:
        text, whole = data.decode(codec), True
    except UnicodeDecodeError:
        text, whole = data.decode(codec, "radstream-substitute"), False
    if codec == "cp949" and _KOREAN_DESIGNATION in text:
        text = text.replace(_KOREAN_DESIGNATION, "")
    if whole and "\0" not in text:
        return text, None
    return text.replace("\0", SUBSTITUTE), next((at for at in offsets(data, codec) if at is not None), None)


def offsets(data: bytes, codec: str) -> list[int | None]:
    """For each U+FFFD of the decoded text, in order, the offset of the bytes it stands for; None where it was sent as such."""
    found: list[int | None] = []
    nul, unit = -1, "\0".encode(codec)
    for match in _MARKED.finditer(data.decode(codec, "radstream-mark")):
        at = int(match[1]) if match[1] else None
        if match[0] == "\0":
            nul = at = _next(data, unit, nul)
        found.append(at)
    return found


def _next(data: bytes, unit: bytes, after: int) -> int:
    """Where `unit` (one character) stands next, on a character boundary."""
    at = data.find(unit, after + 1)
    while at % len(unit):
        at = data.find(unit, at + 1)
    return at
