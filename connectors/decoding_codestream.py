"""What coded bytes promise, read before a decoder believes them: decoders allocate by the codestream, not by the headers, and
fill up silently what was cut off."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian

#: beside pixels of two bytes
_OTHER_ELEMENTS = 16 * 1024**2
_SOI, _SOC_SIZ, _END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
#: SOF of ISO/IEC 10918-1 table B.1 without DHT, JPG and DAC, and of JPEG-LS (ISO/IEC 14495-1 table C.1)
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


class CodedSize(NamedTuple):
    """Of one image; `precision`: bits of a sample (JPEG 2000: of the first component, sign included)."""

    rows: int
    columns: int
    samples: int
    precision: int


def coded_size(codestream: bytes) -> CodedSize:
    """Of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream. Raises ValueError when it is none or has no end (EOI, EOC)."""
    if not codestream.rstrip(b"\0\xff").endswith(_END):  # PS3.5 A.4: padded to even length; by 0xFF, too, in the wild
        raise ValueError("the codestream has no end")
    if codestream.startswith(_SOC_SIZ):
        return _siz(codestream)
    if codestream.startswith(_SOI):
        return _frame_header(codestream)
    raise ValueError("neither JPEG nor JPEG 2000")


def check_inflated(part10: bytes, pixel_limit: int) -> None:
    """Raises MemoryError when a deflated data set (PS3.5 A.5) inflates to more than pixels of two bytes and 16 MiB. A file
    without (0002,0000), which PS3.10 demands, is left to the memory limit of its process."""
    start = 144 + int.from_bytes(part10[140:144], "little")
    if DeflatedExplicitVRLittleEndian.encode() not in part10[144:start]:
        return
    limit = 2 * pixel_limit + _OTHER_ELEMENTS
    if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(part10[start:], limit + 1)) > limit:
        raise MemoryError


def _siz(codestream: bytes) -> CodedSize:
    """ISO/IEC 15444-1 A.5.1: Lsiz, Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, four of tiles, Csiz, Ssiz."""
    x, y, left, top = (int.from_bytes(codestream[at : at + 4], "big") for at in (8, 12, 16, 20))
    return CodedSize(y - top, x - left, int.from_bytes(codestream[40:42], "big"), (codestream[42] & 0x7F) + 1)


def _frame_header(codestream: bytes) -> CodedSize:
    """ISO/IEC 10918-1 B.2.2: Lf, P, Y, X, Nf, behind other segments. Y = 0 (DNL) is not taken."""
    at = 2
    while at + 10 <= len(codestream) and codestream[at] == 0xFF:
        marker, length = codestream[at + 1], int.from_bytes(codestream[at + 2 : at + 4], "big")
        if marker in _SOF:
            rows, columns = (int.from_bytes(codestream[i : i + 2], "big") for i in (at + 5, at + 7))
            return CodedSize(rows, columns, codestream[at + 9], codestream[at + 4])
        at += 1 if marker == 0xFF else 2 + length  # B.1.1.2: fill bytes
    raise ValueError("no frame header")
