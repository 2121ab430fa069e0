"""Decoding in processes of its own: decoders hold the GIL, and a hostile file may crash, hang or eat memory.

pebble kills a single worker and starts another; workers are spawned, so that they share nothing with the parent."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from connectors import decoding_worker
from connectors.decoding_memory import Passage, work
from schemas.errors import InvalidResource
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph

#: a process that dies once may have been killed from outside; one that dies twice dies of the file
_TRIES = 2


T = TypeVar("T")


class DecodingProcesses(Generic[T]):
    """Processes for one function of a file and its SOP Instance UID. Limits, each for one image: `timeout_s` (seconds from its
    start in a worker), `memory_limit_bytes` (address space of a worker), `pixel_limit` (rows x columns x frames x samples)."""

    #: what they do unless they are told otherwise
    function: Callable[[bytes, SOPInstanceUID, int], T]

    def __init__(
        self,
        *,
        workers: int,
        timeout_s: float,
        memory_limit_bytes: int,
        pixel_limit: int,
        function: Callable[[bytes, SOPInstanceUID, int], T] | None = None,
    ) -> None:
        self._workers = workers
        self._timeout_s = timeout_s
        self._memory_limit_bytes = memory_limit_bytes
        self._pixel_limit = pixel_limit
        self._function = function or self.function
        self._closed = False
        self._pool = self._started()

    async def run(self, part10: bytes, expected: SOPInstanceUID) -> T:
        """What the function returns or raises. Raises InvalidResource when the file breaks a limit, or twice its process. A
        cancelled call kills its worker."""
        with await asyncio.to_thread(Passage, part10) as passage:
            return await self._run(passage, expected, f"instance {expected}")

    async def _run(self, passage: Passage, expected: SOPInstanceUID, reference: str) -> T:
        for _ in range(_TRIES):
            pool = await self._working()
            call = (self._function, *passage.places, (expected, self._pixel_limit))
            try:
                future = pool.schedule(work, call, timeout=self._timeout_s)
                result: T = await asyncio.to_thread(passage.unpacked, await asyncio.wrap_future(future))
            except TimeoutError:
                raise InvalidResource("decode", reference, f"not decoded within {self._timeout_s:g} s") from None
            except MemoryError:  # receiving or returning it; inside the decoders the worker names it
                raise InvalidResource("decode", reference, "needs more memory than a decoding process may have") from None
            except ProcessExpired as error:
                ended = f"its decoding process ended with code {error.exitcode}"
            except BrokenProcessPool:
                ended = "its decoding process ended before it began"
            else:
                return result
        raise InvalidResource("decode", reference, f"{ended}, {_TRIES} times")

    def close(self) -> None:
        """Ends all workers at once, with what they are doing."""
        self._closed = True
        _end(self._pool)

    async def _working(self) -> ProcessPool:
        """pebble (5.2) gives up a pool whose only worker was killed while it had nothing to do."""
        if not self._pool.active and not self._closed:
            broken, self._pool = self._pool, self._started()
            await asyncio.to_thread(_end, broken)
        return self._pool

    def _started(self) -> ProcessPool:
        pool = ProcessPool(
            max_workers=self._workers,
            initializer=decoding_worker.initialise,
            initargs=(self._memory_limit_bytes,),
            context=multiprocessing.get_context("spawn"),
        )
        pool.schedule(int)  # starts the workers now, not with the first study
        return pool


def _end(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


class PebbleDecoder(DecodingProcesses[Radiograph]):
    """`ImageDecoder`."""

    function = staticmethod(decoding_worker.decode)

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        """See `ImageDecoder.decode`."""
        return await self.run(part10, expected)
