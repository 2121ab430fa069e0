"""Decoding in processes of its own: decoders hold the GIL, and a hostile file may crash, hang or eat memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeVar

from connectors import decoding_worker
from connectors.decoding_memory import Packed, Passage, work
from connectors.decoding_process import DecodingProcess, ProcessEnded, ProcessNotBegun
from schemas.errors import InvalidResource, ItemNotServed
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Radiograph

#: a process that dies once may have been killed from outside; one that dies twice dies of the file
_TRIES = 2


T = TypeVar("T")


class DecodingProcesses(Generic[T]):
    """Processes for one function of a file and its SOP Instance UID. Limits, each for one image: `timeout_s` (seconds from its
    start in a process), `memory_limit_bytes` (address space of a process), `pixel_limit` (rows x columns x frames x samples)."""

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
        self._timeout_s = timeout_s
        self._memory_limit_bytes = memory_limit_bytes
        self._pixel_limit = pixel_limit
        self._function = function or self.function
        self._calls: set[_Call] = set()
        self._closed = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")  # one waits for each process
        self._idle: SimpleQueue[DecodingProcess] = SimpleQueue()
        for _ in range(workers):  # now, not with the first study
            self._idle.put(DecodingProcess(memory_limit_bytes))

    async def run(self, part10: bytes, expected: SOPInstanceUID) -> T:
        """What the function returns or raises. Raises InvalidResource when the file breaks a limit, or twice its process, and
        ItemNotServed when no process can be had. A cancelled call kills its process."""
        with await asyncio.to_thread(Passage, part10) as passage:
            return await self._run(passage, expected, f"instance {expected}")

    async def _run(self, passage: Passage, expected: SOPInstanceUID, reference: str) -> T:
        for _ in range(_TRIES):
            try:
                packed = await self._asked(work, self._function, *passage.places, (expected, self._pixel_limit))
                result: T = await asyncio.to_thread(passage.unpacked, packed)
            except TimeoutError:
                raise InvalidResource("decode", reference, f"not decoded within {self._timeout_s:g} s") from None
            except MemoryError:  # receiving or returning it; inside the decoders the worker names it
                raise InvalidResource("decode", reference, "needs more memory than a decoding process may have") from None
            except _Closed:
                raise _being_closed(reference) from None
            except (ProcessNotBegun, OSError) as error:
                raise ItemNotServed("decode", reference, f"no decoding process began ({type(error).__name__})") from None
            except ProcessEnded as error:
                if self._closed:
                    raise _being_closed(reference) from None
                ended = f"its decoding process ended with code {error.code}"
            else:
                return result
        raise InvalidResource("decode", reference, f"{ended}, {_TRIES} times")

    def close(self) -> None:
        """Ends all processes at once, with what they are doing; whoever waits for it is told ItemNotServed."""
        self._closed = True
        for call in tuple(self._calls):
            call.cancel()
        self._threads.shutdown()
        while not self._idle.empty():
            self._idle.get().end()

    async def _asked(self, *question: Any) -> Packed:
        if self._closed:
            raise _Closed
        call = _Call()
        self._calls.add(call)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, call, question)
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            self._calls.discard(call)

    def _answer(self, call: _Call, question: tuple[Any, ...]) -> Packed:
        process = self._idle.get()
        try:
            process = self._sound(process)  # it may have been killed while it had nothing to do
            call.begin(process)
            try:
                packed: Packed = process.ask(self._timeout_s, *question)
                return packed
            finally:
                call.end()
                process = self._sound(process)  # a new one reads its modules meanwhile
        finally:
            self._idle.put(process)

    def _sound(self, process: DecodingProcess) -> DecodingProcess:
        if process.alive or self._closed:
            return process
        process.end()
        return DecodingProcess(self._memory_limit_bytes)


class _Closed(Exception):
    """Nobody waits for this answer any more."""


def _being_closed(reference: str) -> ItemNotServed:
    return ItemNotServed("decode", reference, "the decoding processes are being closed")


class _Call:
    """It may be cancelled by another thread than the one that waits for the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: DecodingProcess | None = None
        self._cancelled = False

    def begin(self, process: DecodingProcess) -> None:
        with self._lock:
            if self._cancelled:
                raise _Closed
            self._process = process

    def end(self) -> None:
        with self._lock:
            if self._process is not None and self._cancelled:
                self._process.end()  # killed after its answer it may not have gone yet: nobody may find it alive
            self._process = None

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()


class ProcessDecoder(DecodingProcesses[Radiograph]):
    """`ImageDecoder`."""

    function = staticmethod(decoding_worker.decode)

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        """See `ImageDecoder.decode`."""
        return await self.run(part10, expected)
