"""A runtime of MLServer that serves a network: what stands in MLServer's process, and knows nothing of our server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from numpy.typing import NDArray

Network = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]


def halving() -> Network:
    """Half of each canvas, and its mean: without torch."""
    return lambda canvases: {"heatmap": canvases / 2, "mean": canvases.mean(axis=(1, 2, 3))[:, None]}


def panel() -> Network:
    """That of the panel package."""
    from models.torch_network import TorchNetwork
    from tests.contract.panel_package import PanelNetwork

    return TorchNetwork(PanelNetwork())


class NetworkRuntime(MLModel):
    """`parameters.extra.network`: a function of this file that makes the network."""

    _network: Network

    async def load(self) -> bool:
        parameters = self.settings.parameters
        assert parameters is not None and parameters.extra is not None
        self._network = globals()[parameters.extra["network"]]()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        canvases = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        answer: dict[str, Any] = dict(self._network(canvases))
        asked = [one.name for one in payload.outputs or []] or list(answer)
        outputs = [NumpyCodec.encode_output(name, answer[name]) for name in asked]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
