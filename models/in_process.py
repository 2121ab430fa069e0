"""A model in this process, on one thread of its own, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from models.batching import Batching
from models.card import Card
from models.image_model import ImageModel
from schemas.errors import RadstreamError
from schemas.findings import ModelIdentity
from schemas.ports import Prediction, Radiograph


class InProcess:
    """`FindingModel`; `batch` and `wait_ms` as of Batching. Without the guards of ModelProcess: what kills or hangs the model kills
    or hangs its caller."""

    def __init__(self, model: ImageModel, *, batch: int = 1, wait_ms: float = 0.0) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._batching = Batching(self._run, batch=batch, wait_ms=wait_ms)

    @property
    def card(self) -> Card:
        return self._model.card

    @property
    def identity(self) -> ModelIdentity:
        return self._model.identity

    @property
    def service(self) -> str:
        return self._model.service

    @property
    def threshold(self) -> float | None:
        return self._model.threshold

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """See `FindingModel.predict`."""
        return await self._batching.predict(radiograph)

    async def close(self) -> None:
        """Waits for the pass under way, and closes the model."""
        await self._batching.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._model.close)
        self._thread.shutdown()

    async def _run(self, radiographs: Sequence[Radiograph]) -> Sequence[Prediction | RadstreamError]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._model.predict_all, radiographs)
