"""Radiographs through memory that two have open, both of them this process."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.process_memory import _KEPT, Memory
from tests.unit.image_models import radiograph


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.close()


def size_of(memory: Memory) -> int:
    return os.fstat(memory._descriptor).st_size


def test_arrays_of_every_kind_come_as_they_were(memory: Memory) -> None:
    ramp = np.arange(15, dtype=np.uint16).reshape(3, 5)
    kinds: list[Any] = [ramp, ramp.astype(np.float32), np.asfortranarray(ramp), ramp[::2, ::-1], ramp[:0], ramp.astype(np.uint8)]
    sent = [dataclasses.replace(radiograph(n, "text"), pixels=pixels) for n, pixels in enumerate(kinds)]
    taken = memory.taken(memory.put(sent))
    for before, after in zip(sent, taken, strict=True):
        np.testing.assert_array_equal(before.pixels, after.pixels)
        assert before.pixels.dtype == after.pixels.dtype and after.pixels.flags.aligned
        assert dataclasses.replace(before, pixels=after.pixels) == dataclasses.replace(after)
    taken[0].pixels[:] = 7  # theirs until the next pass, as torch wants it
    assert ramp[0, 1] == 1


def test_the_next_pass_says_nothing_of_the_one_before(memory: Memory) -> None:
    memory.put([radiograph(1, side=500)])
    (taken,) = memory.taken(memory.put([radiograph(2, side=3)]))
    np.testing.assert_array_equal(taken.pixels, np.full((3, 3), 2))


def test_a_large_pass_does_not_hold_its_memory(memory: Memory) -> None:
    memory.put([radiograph(n, side=4000) for n in range(3)])
    assert size_of(memory) > _KEPT
    memory.free()
    assert size_of(memory) == _KEPT


def test_nothing_stays_open() -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    memory = Memory()
    taken = memory.taken(memory.put([radiograph()]))
    del taken
    memory.close()
    assert opened() == before
