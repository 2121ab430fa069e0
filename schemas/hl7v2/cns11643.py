"""CNS 11643 (table 0211 "CNS 11643-1992"), for which Python has no codec: the C library's iconv, as a Python codec.

As EUC-TW, or as ISO-2022-CN-EXT where an escape sequence stands. Where the platform's iconv knows neither (musl), the codec
is not there: `LookupError`, as for every codec that Python does not have.
"""

from __future__ import annotations

import codecs
import ctypes
import errno
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NAME = "cns11643"
_EUC, _ISO_2022, _TEXT = b"EUC-TW", b"ISO-2022-CN-EXT", b"UTF-32LE"
_NONE = ctypes.c_void_p(-1).value
#: iconv says "the output is full" (E2BIG) and is called again
_ROOM = 64 * 1024


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """Raises LookupError."""
    for name in (None, "libiconv.so.2", "libiconv.dylib"):
        try:
            library = ctypes.CDLL(name, use_errno=True)
            library.iconv_open.restype = ctypes.c_void_p
            library.iconv_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
            library.iconv.restype = ctypes.c_size_t
            buffer, length = ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)
            library.iconv.argtypes = [ctypes.c_void_p, buffer, length, buffer, length]
            library.iconv_close.argtypes = [ctypes.c_void_p]
        except (OSError, AttributeError, TypeError):
            continue
        return library
    raise LookupError("this platform has no iconv")


def _convert(data: bytes, source: bytes, target: bytes, broken: Callable[[int], tuple[bytes, int]]) -> bytes:
    """`broken` is asked at each offset that cannot be converted: what to write instead, and the offset where to go on."""
    library = _library()
    handle = library.iconv_open(target, source)
    if handle == _NONE or handle is None:
        raise LookupError(f"this platform's iconv does not know {source.decode()} and {target.decode()}")
    try:
        held = ctypes.create_string_buffer(data, len(data))
        begin = ctypes.addressof(held)
        room = ctypes.create_string_buffer(_ROOM)
        at, left = ctypes.c_void_p(begin), ctypes.c_size_t(len(data))
        written: list[bytes] = []
        while True:
            ended = not left.value
            to, free = ctypes.c_void_p(ctypes.addressof(room)), ctypes.c_size_t(_ROOM)
            # at the end, with no input: the escape sequence back to the first state
            source_at = None if ended else ctypes.byref(at)
            result = library.iconv(handle, source_at, ctypes.byref(left), ctypes.byref(to), ctypes.byref(free))
            failed = ctypes.get_errno() if result == ctypes.c_size_t(-1).value else 0
            written.append(ctypes.string_at(room, _ROOM - free.value))
            if not failed and ended:
                return b"".join(written)
            if failed in (errno.EILSEQ, errno.EINVAL):
                instead, go_on = broken((at.value or begin) - begin)
                written.append(instead)
                at, left = ctypes.c_void_p(begin + go_on), ctypes.c_size_t(len(data) - go_on)
            elif failed not in (0, errno.E2BIG):
                raise OSError(failed, "iconv failed")
    finally:
        library.iconv_close(handle)


def _decode(given: ReadableBuffer, errors: str = "strict") -> tuple[str, int]:
    data = bytes(given)

    def broken(offset: int) -> tuple[bytes, int]:
        error = UnicodeDecodeError(NAME, data, offset, _end(data, offset), "no character of CNS 11643")
        text, go_on = codecs.lookup_error(errors)(error)
        return str(text).encode("utf-32-le", "surrogatepass"), go_on

    source = _ISO_2022 if b"\x1b" in data else _EUC
    return _convert(data, source, _TEXT, broken).decode("utf-32-le", "surrogatepass"), len(data)


def _end(data: bytes, offset: int) -> int:
    """Where the character ends that could not be read: 0x8E leads four high bytes of EUC-TW; else two that are alike, high or
    (ISO 2022) low."""
    four = data[offset : offset + 4]
    if four[0] == 0x8E and len(four) == 4 and min(four) >= 0x80:
        return offset + 4
    two = four[:2]
    alike = len(two) == 2 and min(two) > 0x20 and (two[0] >= 0x80) == (two[1] >= 0x80)
    return offset + 2 if alike else offset + 1


def _encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
    """As EUC-TW."""

    def broken(offset: int) -> tuple[bytes, int]:
        error = UnicodeEncodeError(NAME, text, offset // 4, offset // 4 + 1, "no character of CNS 11643")
        instead, go_on = codecs.lookup_error(errors)(error)
        return instead if isinstance(instead, bytes) else str(instead).encode("ascii"), go_on * 4

    return _convert(text.encode("utf-32-le"), _TEXT, _EUC, broken), len(text)


def _search(name: str) -> codecs.CodecInfo | None:
    if name != NAME:
        return None
    try:
        _convert(b"", _EUC, _TEXT, lambda _: (b"", 0))
    except LookupError:
        return None
    return codecs.CodecInfo(_encode, _decode, name=NAME)


codecs.register(_search)
