"""MSH-18 (HL7 v2.5.1 2.14.9.18, table 0211) as Python codecs, and what becomes of bytes that do not decode.

Decoding comes before splitting: trail bytes of Big5 and GB 18030 look like `\\`, `|` and `^`.
"""

from __future__ import annotations

import codecs

from schemas.errors import UnsupportedMessage

#: table 0211 and spellings seen in the field, upper case without blanks, hyphens and underscores -> codec
_CODECS = {
    "ASCII": "ascii",
    "ISOIR6": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    **{f"ISO8859{part}": f"iso8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)},
    "ISOIR100": "iso8859-1",
    "UNICODE": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UTF8": "utf-8",
    "ISOIR192": "utf-8",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    # as Windows writes it in Taiwan; the Hong Kong set would read user-defined characters as other, wrong ones
    "BIG5": "cp950",
    "KSX1001": "euc_kr",
    # Japanese sets are switched by ISO 2022 escape sequences, whatever the order in which MSH-18 names them
    "ISOIR13": "iso2022_jp_ext",
    "ISOIR14": "iso2022_jp_ext",
    "ISOIR87": "iso2022_jp_ext",
    "ISOIR159": "iso2022_jp_ext",
    "ISOIR149": "iso2022_kr",
}
_MULTIBYTE = frozenset({"cp950", "gb18030", "euc_kr"})
_SUBSTITUTE = "\N{REPLACEMENT CHARACTER}"


def codec_of(names: str, default: str, repetition_separator: str = "~") -> str:
    """The codec for the raw text of MSH-18 (repetitions and all); `default` is a name of table 0211 for an empty MSH-18.

    Raises UnsupportedMessage for a set this engine cannot read (UTF-16/32 hold the framing bytes; CNS 11643)."""
    found = ""
    for name in names.split(repetition_separator) if names.strip() else [default]:
        plain = name.strip().upper().replace(" ", "").replace("-", "").replace("_", "")
        if not plain:
            continue  # "~ISO IR87": the first repetition empty means ASCII
        codec = _CODECS.get(plain)
        if codec is None:
            raise UnsupportedMessage("read", "MSH-18", "names a character set that is not read")
        if not found or codec.startswith("iso2022"):
            found = codec
    return found or "ascii"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """One substitute for a whole character of a multi-byte set: Python's own "replace" would take only the lead byte and
    leave a trail byte 0x7C standing as a field separator (user-defined Big5 characters in names are everyday in Taiwan)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    data, start = error.object, error.start
    if 0x81 <= data[start] <= 0xFE and start + 1 < len(data):
        trail = data[start + 1]
        if 0x40 <= trail <= 0x7E or 0x80 <= trail <= 0xFE:
            return _SUBSTITUTE, start + 2
    return _SUBSTITUTE, start + 1


codecs.register_error("radstream-substitute", _substitute)


def decode(data: bytes, codec: str) -> tuple[str, int | None]:
    """The text, and the offset of the first byte that did not decode and was substituted by U+FFFD (None: all did).

    A NUL counts as undecodable: no character of a message, and neither PostgreSQL nor FHIR can hold it."""
    offset = None
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        offset = error.start
        text = data.decode(codec, "radstream-substitute" if codec in _MULTIBYTE else "replace")
    if "\0" in text:
        nul = data.index(0)
        return text.replace("\0", _SUBSTITUTE), nul if offset is None else min(nul, offset)
    return text, offset
