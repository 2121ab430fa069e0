"""Questions about one image become passes of several: one pass at a time, of those that are waiting."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from schemas.errors import ItemNotServed, ModelFailed, ModelUnavailable, RadstreamError
from schemas.ports import Prediction, Radiograph

log = structlog.get_logger()

_STEP = "analyse"
#: an image that has spoilt so many passes is the cause; the last of them it had for itself
_TRIES = 2
#: full passes in a row before a size that memory did not hold is tried again, each time twice as many images
_PASSES_BEFORE_MORE = 64

Pass = Callable[[Sequence[Radiograph]], Awaitable[Sequence[Prediction | RadstreamError]]]
"""As `models.image_model.ImageModel.predict_all`, awaited."""


class PassSpoilt(Exception):
    """No image of a pass has an answer, and one of them may be the cause. The text is our own words."""


@dataclass(slots=True, eq=False)
class _Call:
    radiograph: Radiograph
    answer: asyncio.Future[Prediction]
    #: in the loop's time
    asked: float
    spoilt: int = 0

    def end(self, answer: Prediction | RadstreamError) -> None:
        if self.answer.done():
            return  # whoever asked has gone
        if isinstance(answer, RadstreamError):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)

    def fail(self, reason: str) -> None:
        self.end(ModelFailed(_STEP, self.radiograph.sop_instance_uid, reason))


class Batching:
    """Of one event loop. A pass has at most `batch` images; the first of them waits at most `wait_ms` for others (0: it takes those
    that are there). A pass that memory does not hold is made of half as many; one that is spoilt is repeated image by image."""

    def __init__(self, run: Pass, *, batch: int, wait_ms: float = 0.0) -> None:
        self._run = run
        self._batch = self._size = batch
        self._wait_s = wait_ms / 1000
        self._well = 0
        self._waiting: deque[_Call] = deque()
        self._came = asyncio.Event()
        self._passes: asyncio.Task[None] | None = None
        self._closed = False

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """See `FindingModel.predict`. Whoever is cancelled takes nothing from the others."""
        if self._closed:
            raise _closed(radiograph)
        loop = asyncio.get_running_loop()
        call = _Call(radiograph, loop.create_future(), loop.time())
        self._waiting.append(call)
        self._came.set()
        if self._passes is None or self._passes.done():
            self._passes = loop.create_task(self._until_none_waits())
        return await call.answer

    async def close(self) -> None:
        """Waits for the pass under way; whoever is in none is told ModelUnavailable."""
        self._closed = True
        self._refuse()
        if self._passes is not None:
            await self._passes

    async def _until_none_waits(self) -> None:
        while self._present():
            await self._others()
            if calls := self._taken():
                await self._pass(calls)

    def _present(self) -> int:
        """How many wait still."""
        self._waiting = deque(call for call in self._waiting if not call.answer.done())
        return len(self._waiting)

    async def _others(self) -> None:
        """Until a pass is full, or the first has waited long enough."""
        first = self._waiting[0]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(first.asked + self._wait_s):
                while not first.spoilt and 0 < self._present() < self._size:
                    self._came.clear()
                    await self._came.wait()

    def _taken(self) -> list[_Call]:
        calls: list[_Call] = []
        if self._present():
            alone = self._waiting[0].spoilt
            while self._waiting and len(calls) < (1 if alone else self._size):
                calls.append(self._waiting.popleft())
        return calls

    async def _pass(self, calls: Sequence[_Call]) -> None:
        try:
            answers = list(zip(calls, await self._run([call.radiograph for call in calls]), strict=True))
        except MemoryError:
            self._too_many(calls)
        except RadstreamError as error:
            for call in calls:
                call.end(copy.copy(error))  # a traceback for each
        except PassSpoilt as error:
            self._spoilt(calls, str(error))
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever; messages of libraries are not repeated
            self._spoilt(calls, f"the model raised {type(error).__name__}")
        else:
            for call, answer in answers:
                call.end(answer)
            self._went_well(len(calls))

    def _too_many(self, calls: Sequence[_Call]) -> None:
        if len(calls) == 1:
            # two models are in memory during a promotion, and a GPU is shared: it is tried again later, and others go on
            reason = "needs more memory than there is now, also alone"
            calls[0].end(ItemNotServed(_STEP, calls[0].radiograph.sop_instance_uid, reason))
            return
        self._size, self._well = len(calls) // 2, 0
        log.warning("out of memory: fewer images in a pass", images=len(calls), next=self._size)
        self._again(calls)

    def _spoilt(self, calls: Sequence[_Call], reason: str) -> None:
        log.warning("a pass of the model has no answer", images=len(calls), reason=reason)
        for call in calls:
            call.spoilt += 1
            if call.spoilt == _TRIES:
                call.fail(f"{reason}, {_TRIES} times")
        self._again(calls)

    def _again(self, calls: Sequence[_Call]) -> None:
        """Those that have no answer yet, before all others and in their order."""
        self._waiting.extendleft(reversed(calls))
        if self._closed:
            self._refuse()

    def _refuse(self) -> None:
        for call in self._waiting:
            call.end(_closed(call.radiograph))
        self._came.set()

    def _went_well(self, images: int) -> None:
        if images < self._size or self._size == self._batch:
            return
        self._well += 1
        if self._well == _PASSES_BEFORE_MORE:
            self._size, self._well = min(2 * self._size, self._batch), 0


def _closed(radiograph: Radiograph) -> ModelUnavailable:
    return ModelUnavailable(_STEP, radiograph.sop_instance_uid, "the model is being closed")
