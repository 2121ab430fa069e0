"""`radstream model serve`: the packages of this site for whoever may ask, over the Open Inference Protocol v2.

Of each package NAME there are two models: NAME, from a radiograph to findings, with the rules and the gate of the engine; and
NAME.network, the bare network, with which one radstream can be the inference server of another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from connectors.inference_served import Parameter, Ready, Served, TensorMetadata
from connectors.inference_tensors import Tensor
from schemas.errors import MalformedMessage, Unsuitable
from schemas.findings import DEMONSTRATION, NotAnalysed
from schemas.ports import FindingModel, Network, Prediction
from streams.serving.answers import outputs_of, tensors_of
from streams.serving.films import INPUTS, Films
from streams.steps.choosing import IntendedUse

#: what the bare network is given
CANVAS = "canvas"
#: canvases in one pass, however many a request holds: what a pass needs of memory is many times its input
_AT_A_TIME = 8
_SAID = {"note": DEMONSTRATION}


def findings_of(model: FindingModel, outputs: Sequence[str], films: Films, use: IntendedUse, ready: Ready) -> Served:
    """From a radiograph to what the model says of it. `outputs`: names of the card. Raises SettingsInvalid."""

    async def infer(inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Sequence[Tensor]:
        said: Prediction | NotAnalysed
        try:
            said = await model.predict(await films.radiograph(inputs, parameters, use))
        except Unsuitable as error:
            said = NotAnalysed(reason=error.code, explanation=error.reason)
        return tensors_of(model, said, outputs)

    identity = model.identity
    told = {**_SAID, "weights_sha256": identity.weights_sha256}
    return Served(identity.name, identity.version, INPUTS, outputs_of(outputs), infer, ready, whole_body="dicom", said=told)


async def network_of(
    name: str,
    version: str,
    network: Network,
    canvas: tuple[int, int, int],
    thread: ThreadPoolExecutor,
    ready: Ready,
) -> Served:
    """The bare network, on that thread; `canvas`: channels, rows, columns. It is asked once, to see what it gives. Raises
    ModelFailed, ModelUnavailable."""
    loop = asyncio.get_running_loop()
    tried = await loop.run_in_executor(thread, network, np.zeros((1, *canvas), np.float32))

    async def infer(inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Sequence[Tensor]:
        if CANVAS not in inputs or not len(inputs[CANVAS].values):
            raise MalformedMessage("serve", f"input {CANVAS}", "is needed, with one image or more")
        canvases = np.require(inputs[CANVAS].values, requirements=["C", "W"])  # torch wants to be able to write
        passes = [canvases[at : at + _AT_A_TIME] for at in range(0, len(canvases), _AT_A_TIME)]
        answers = [await loop.run_in_executor(thread, network, some) for some in passes]
        return [Tensor(name, np.concatenate([np.asarray(one[name], np.float32) for one in answers])) for name in answers[0]]

    outputs = tuple(TensorMetadata(output, ("FP32",), (-1, *values.shape[1:])) for output, values in tried.items())
    inputs = (TensorMetadata(CANVAS, ("FP32",), (-1, *canvas)),)
    return Served(f"{name}.network", version, inputs, outputs, infer, ready, said=_SAID)
