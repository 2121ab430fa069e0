"""A `FindingModel` over the HTTP API of `radstream model serve`: what an application of others would write."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import requests

from connectors.inference_tensors import Tensor, described, joined
from schemas.errors import ModelUnavailable, Unsuitable
from schemas.findings import ModelIdentity
from schemas.ports import Prediction, Radiograph
from streams.serving.answers import ServedFindings


class ServedModel:
    """The API sees pixels and three headers: whose they are, only whoever asks knows."""

    def __init__(self, url: str, identity: ModelIdentity, service: str, threshold: float | None) -> None:
        self.identity, self.service, self.threshold = identity, service, threshold
        self._url = f"{url}/v2/models/{identity.name}/versions/{identity.version}/infer"
        self._threads = ThreadPoolExecutor(8)  # of its own: the server in the same process needs those of the loop

    async def predict(self, radiograph: Radiograph) -> Prediction:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, radiograph)
        except requests.ConnectionError:
            raise ModelUnavailable("test", self.identity.name, "no connection") from None
        answer.raise_for_status()
        [document] = [one["data"][0] for one in answer.json()["outputs"] if one["name"] == "findings"]
        said = ServedFindings.model_validate_json(document)
        assert (said.model, said.service, said.threshold) == (self.identity, self.service, self.threshold)
        if said.not_analysed is not None:
            raise Unsuitable("test", radiograph.sop_instance_uid, said.not_analysed.explanation, said.not_analysed.reason)
        assert said.image is not None
        uid = {"sop_instance_uid": radiograph.sop_instance_uid}
        return Prediction(
            said.image.model_copy(update={**uid, "pixel_sha256": radiograph.pixel_sha256}),
            tuple(one.model_copy(update={"region": one.region.model_copy(update=uid)}) for one in said.findings),
        )

    def close(self) -> None:
        self._threads.shutdown()

    def _asked(self, radiograph: Radiograph) -> requests.Response:
        image, behind = described(Tensor("image", np.ascontiguousarray(radiograph.pixels)), binary=True)
        said = {
            "Modality": radiograph.modality,
            "BodyPartExamined": radiograph.body_part_examined,
            "ViewPosition": radiograph.view_position,
        }
        parameters = {name: value for name, value in said.items() if value is not None}
        body, length = joined({"inputs": [image], "outputs": [{"name": "findings"}], "parameters": parameters}, behind)
        ask = partial(requests.post, self._url, data=body, timeout=60)
        return ask(headers={"Inference-Header-Content-Length": str(length)})
