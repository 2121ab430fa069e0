"""Pixels pass to the process of a model in anonymous memory (memfd_create(2)) that both have open: 3.5 ms for a film of 7.2 MB,
against 8.4 through the pipe and 6.6 in new memory for each. Nothing has to be cleaned up: it is gone with the last of them."""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any, Self

from schemas.ports import Radiograph

#: bytes that are kept from one pass to the next: new pages cost as much as the copying
_KEPT = 64 * 1024**2
#: of each array, in bytes
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Packed:
    """Radiographs whose arrays lie in the memory: each from a byte on, so many bytes."""

    pickled: bytes
    places: tuple[tuple[int, int], ...]


class Memory:
    """One pass at a time. Pickled, while a process is being spawned, it becomes the same memory there."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = os.memfd_create("radiographs") if descriptor is None else descriptor

    def __reduce__(self) -> tuple[object, ...]:
        return self._inherited, (reduction.DupFd(self._descriptor),)

    @classmethod
    def _inherited(cls, descriptor: Any) -> Self:
        return cls(descriptor.detach())

    def put(self, radiographs: Sequence[Radiograph]) -> Packed:
        """The one who asks; what was put before is gone."""
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(list(radiographs), protocol=5, buffer_callback=buffers.append)
        places, end = [], 0
        for buffer in buffers:
            array, begin = buffer.raw(), -(-end // _ALIGNMENT) * _ALIGNMENT
            places.append((begin, array.nbytes))
            end = begin
            while array.nbytes:
                written = os.pwrite(self._descriptor, array, end)
                array, end = array[written:], end + written
        return Packed(pickled, tuple(places))

    def taken(self, packed: Packed) -> list[Radiograph]:
        """The one who answers; the arrays are the memory itself, good until the answer is given."""
        end = max((begin + size for begin, size in packed.places), default=0)
        mapped = memoryview(mmap.mmap(self._descriptor, end) if end else b"")
        taken: list[Radiograph] = pickle.loads(
            packed.pickled, buffers=[mapped[begin : begin + size] for begin, size in packed.places]
        )
        return taken

    def free(self) -> None:
        """After the answer: a large pass does not hold its memory for ever."""
        if os.fstat(self._descriptor).st_size > _KEPT:
            os.ftruncate(self._descriptor, _KEPT)

    def close(self) -> None:
        os.close(self._descriptor)
