"""A model in a process of its own: what crashes, hangs or swells there costs a new process, not the engine. No torch here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar, TypeVarTuple

import structlog

from models.batching import Batching
from models.image_model import Around
from models.process_child import Child
from models.process_worker import Load, Loaded
from schemas.errors import ModelUnavailable, RadstreamError
from schemas.ports import Prediction, Radiograph

log = structlog.get_logger()

T = TypeVar("T")
A = TypeVarTuple("A")

#: seconds from TERM to KILL
_KILL_AFTER_S = 5.0


class ModelProcess(Around):
    """`FindingModel`. Its process is started again whenever it is needed and not there; an image that was in it twice when it
    ended, the second time alone, is ModelFailed. Images that wait together are one pass (Batching)."""

    _inside: Loaded  # what the process said when it had loaded

    @classmethod
    async def start(
        cls, load: Load, *, batch: int = 1, wait_ms: float = 0.0, timeout_s: float = 60.0, threads: int | None = None
    ) -> Self:
        """Returns when the model is loaded. `load` goes to the process by pickle: a function of a module, or a partial of one.
        `timeout_s`: for a pass. `threads`: torch's for one operation; None: as torch chooses. Raises what `load` raises, and
        ModelFailed."""
        process = cls(load, batch, wait_ms, timeout_s, threads)
        try:
            _, process._inside = await process._on_thread(process._born)
        except BaseException:
            await process.close()
            raise
        return process

    def __init__(self, load: Load, batch: int, wait_ms: float, timeout_s: float, threads: int | None) -> None:
        """See `start`."""
        self._load, self._threads, self._timeout_s = load, threads, timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model-process")  # see Child
        self._batching = Batching(self._run, batch=batch, wait_ms=wait_ms)
        self._child: Child | None = None
        self._ending: asyncio.Task[None] | None = None

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """See `FindingModel.predict`."""
        return await self._batching.predict(radiograph)

    async def close(self) -> None:
        """TERM, then KILL, and waits for the end, also when it is cancelled meanwhile; whoever waits for an answer is told
        ModelUnavailable. Once or more often."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._to_the_end())
        cancelled: asyncio.CancelledError | None = None
        while not self._ending.done():
            try:
                await asyncio.wait((self._ending,))  # unlike `await`, this does not pass a cancellation on
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        self._ending.result()

    async def _to_the_end(self) -> None:
        if self._child is not None:
            self._child.terminate()
            if not await asyncio.to_thread(self._child.gone, _KILL_AFTER_S):
                self._child.kill()
        await self._batching.close()
        await self._on_thread(self._end)
        self._thread.shutdown()

    async def _run(self, radiographs: Sequence[Radiograph]) -> Sequence[Prediction | RadstreamError]:
        return await self._on_thread(self._ask, radiographs)

    async def _on_thread(self, function: Callable[[*A], T], *arguments: *A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _ask(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        child = self._child
        if child is None or not child.alive:
            child = self._born_again()
        return child.ask(radiographs, self._timeout_s)

    def _born(self) -> tuple[Child, Loaded]:
        self._child = child = Child(self._load, self._threads)
        if self._ending is not None:  # in the meantime: `close` may have seen no child
            child.kill()
        return child, child.loaded()

    def _born_again(self) -> Child:
        self._end()
        model = f"{self.identity.name}/{self.identity.version}"
        if self._ending is not None:
            raise ModelUnavailable("analyse", model, "is being closed")
        log.warning("the process of the model has ended and is started again", model=model)
        try:
            child, loaded = self._born()
        except (RadstreamError, OSError) as error:
            reason = error.reason if isinstance(error, RadstreamError) else type(error).__name__
            raise ModelUnavailable("analyse", model, f"its process cannot be started again: {reason}") from error
        if loaded != self._inside:
            child.end()
            raise ModelUnavailable("analyse", model, "has become another model: start again, or promote it")
        return child

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
