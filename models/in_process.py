"""A model in this process, on one thread of its own, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from models.batching import Batching
from models.image_model import Around, ImageModel
from schemas.errors import RadstreamError
from schemas.ports import Prediction, Radiograph


class InProcess(Around):
    """`FindingModel`; `batch` and `wait_ms` as of Batching. Without the guards of ModelProcess: what kills or hangs the model kills
    or hangs its caller."""

    def __init__(self, model: ImageModel, *, batch: int = 1, wait_ms: float = 0.0) -> None:
        self._inside = self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._batching = Batching(self._run, batch=batch, wait_ms=wait_ms)

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
