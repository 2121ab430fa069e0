"""DICOM files, broken as disks, networks and people break them; the same seed, the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

#: most elements before Pixel Data, and the head of a codestream
_HEADERS = 1500


def broken(random: Random, file: bytes) -> bytes:
    """One to three breaks."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        file = random.choice(_BREAKS)(random, file)
    return file


def _place(random: Random, file: bytes) -> int:
    """Half of them in the headers, which are a small part of a file."""
    return random.randint(0, min(len(file), _HEADERS) if random.random() < 0.5 else len(file))


def _slice(random: Random, file: bytes) -> tuple[int, int]:
    begin = _place(random, file)
    return begin, min(len(file), begin + random.choice((1, 2, 4, 20, 1000)))


def _bits_flipped(random: Random, file: bytes) -> bytes:
    flipped = bytearray(file)
    for _ in range(random.choice((1, 2, 8, 40)) if flipped else 0):
        flipped[min(_place(random, file), len(file) - 1)] ^= 1 << random.randrange(8)
    return bytes(flipped)


def _overwritten(random: Random, file: bytes) -> bytes:
    begin, end = _slice(random, file)
    fill = random.choice((b"\0", b"\xff", None))
    return file[:begin] + (fill * (end - begin) if fill else random.randbytes(end - begin)) + file[end:]


def _cut_out(random: Random, file: bytes) -> bytes:
    begin, end = _slice(random, file)
    return file[:begin] + file[end:]


def _cut_off(random: Random, file: bytes) -> bytes:
    return file[: _place(random, file)]


def _doubled(random: Random, file: bytes) -> bytes:
    begin, end = _slice(random, file)
    return file[:end] + file[begin:]


_BREAKS: tuple[Callable[[Random, bytes], bytes], ...] = (_bits_flipped, _bits_flipped, _overwritten, _cut_out, _cut_off, _doubled)
