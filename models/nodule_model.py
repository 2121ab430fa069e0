"""To be deleted with its last caller: a package asked one image at a time, as `FindingModel`. `models.in_process` does that now."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from models.card import Card
from models.inference import PackageModel
from models.postprocessing import OperatingPoint
from schemas.errors import ModelFailed, RadstreamError, SettingsInvalid
from schemas.findings import ModelIdentity
from schemas.ports import Prediction, Radiograph


class NoduleModel:
    """A `PackageModel` with a heatmap, on a thread of its own."""

    def __init__(self, model: PackageModel) -> None:
        if model.card.heatmap is None:
            raise SettingsInvalid("load", f"{model.card.name}/{model.card.version}", "it looks for nothing with a place")
        self._model = model
        self.point = OperatingPoint.of(model.card.heatmap)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{model.card.name}")

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
    def threshold(self) -> float:
        return self.point.threshold

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """See `FindingModel.predict`."""
        loop = asyncio.get_running_loop()
        try:
            (answer,) = await loop.run_in_executor(self._thread, self._model.predict_all, [radiograph])
        except MemoryError as error:
            raise ModelFailed("analyse", radiograph.sop_instance_uid, "needs more memory than there is") from error
        if isinstance(answer, RadstreamError):
            raise answer
        return answer

    def close(self) -> None:
        self._thread.shutdown()
        self._model.close()
