"""The way of a file to a decoding process and of its pixels back, both ends in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors.decoding_memory import Passage, work


def _arrays(file: bytes, times: int) -> list[NDArray[np.uint16]]:
    values = np.frombuffer(file, np.uint16)
    return [values * number for number in range(times)]


def test_arrays_come_back_as_they_were_made_and_are_ours() -> None:
    file = np.arange(1000, dtype=np.uint16).tobytes()
    with Passage(file) as passage:
        found = passage.unpacked(work(_arrays, *passage.places, (3,)))
    for number, values in enumerate(found):
        np.testing.assert_array_equal(values, np.arange(1000, dtype=np.uint16) * number)
        values += 1  # writable, after the passage is closed


def test_a_second_try_sees_nothing_of_the_first() -> None:
    with Passage(b"\1\0" * 8) as passage:
        work(_arrays, *passage.places, (5,))
        [_, ones] = passage.unpacked(work(_arrays, *passage.places, (2,)))
    np.testing.assert_array_equal(ones, np.ones(8))


def test_whoever_comes_late_finds_nothing_and_not_the_next_ones_memory() -> None:
    with Passage(b"the first") as passage:
        places = passage.places
    with pytest.raises(FileNotFoundError):
        work(bytes.__len__, *places, ())
    with Passage(b"of another patient") as following:
        assert [one.path for one in following.places] == [one.path for one in places], "else this shows nothing"
        with pytest.raises(FileNotFoundError):
            work(bytes.__len__, *places, ())


def test_nothing_stays_open() -> None:
    def opened() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = opened()
    with Passage(b"x") as passage:
        passage.unpacked(work(bytes.__len__, *passage.places, ()))
    assert opened() == before
