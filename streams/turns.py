"""Who is next where only one can be served: the most urgent, and of those equally urgent the one that came first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from schemas.findings import ModelIdentity
from schemas.identifiers import SOPInstanceUID
from schemas.ports import FindingModel, ImageDecoder, Prediction, Radiograph


class Turns:
    """So many `places` of one event loop. A lower rank is more urgent."""

    def __init__(self, places: int = 1) -> None:
        self._free = places
        self._numbers = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, rank: int) -> AsyncIterator[None]:
        """Waits for its turn, and has it inside the block."""
        if not self._free:
            called = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (rank, next(self._numbers), called))
            try:
                await called
            except asyncio.CancelledError:
                if called.done() and not called.cancelled():
                    self._next()  # called and cancelled at once
                raise
        else:
            self._free -= 1
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            _, _, called = heapq.heappop(self._waiting)
            if not called.done():
                called.set_result(None)
                return  # the place stays taken: nobody comes between
        self._free += 1


class DecodedInTurn:
    """`ImageDecoder` for one study, behind the turns of all."""

    def __init__(self, decoder: ImageDecoder, turns: Turns, rank: int) -> None:
        self._decoder = decoder
        self._turns = turns
        self._rank = rank

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        """See `ImageDecoder.decode`."""
        async with self._turns.turn(self._rank):
            return await self._decoder.decode(part10, expected)


class InTurn:
    """`FindingModel` for one study, behind the turns of all."""

    def __init__(self, model: FindingModel, turns: Turns, rank: int) -> None:
        self._model = model
        self._turns = turns
        self._rank = rank

    @property
    def identity(self) -> ModelIdentity:
        return self._model.identity

    @property
    def threshold(self) -> float:
        return self._model.threshold

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """See `FindingModel.predict`."""
        async with self._turns.turn(self._rank):
            return await self._model.predict(radiograph)
