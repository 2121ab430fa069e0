"""An inference server over real sockets with models that a test writes, and whoever asks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests

from connectors.inference_served import Parameter, Served, TensorMetadata
from connectors.inference_server import InferenceServer
from connectors.inference_tensors import Tensor, as_bytes

DEADLINE_S = 20
NAME = "Mustermann^Erika"
LIMIT = 1024 * 1024


class Doubling:
    """A model that doubles: `canvas` FP32 [n, 2] -> `twice`, and tells what it was given. `hold` keeps it busy."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], dict[str, Parameter]]] = []
        self.busy, self.hold, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.hold.set()
        self.error: BaseException | None = None
        self.ready = True

    async def is_ready(self) -> bool:
        return self.ready

    async def infer(self, inputs: Mapping[str, Tensor], parameters: Mapping[str, Parameter]) -> Sequence[Tensor]:
        self.asked.append(({name: tensor.values.tolist() for name, tensor in inputs.items()}, dict(parameters)))
        self.busy.set()
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        with np.errstate(over="ignore"):
            twice = inputs["canvas"].values * 2 if "canvas" in inputs else np.zeros((1, 2), np.float32)
        return [Tensor("twice", twice), as_bytes("words", "schön".encode())]

    def served(self, name: str = "double", version: str = "1", **said: Any) -> Served:
        return Served(
            name,
            version,
            (TensorMetadata("canvas", ("FP32", "FP64"), (-1, 2)), TensorMetadata("file", ("BYTES",), (1,), base64=True)),
            (TensorMetadata("twice", ("FP32",), (-1, 2)), TensorMetadata("words", ("BYTES",), (1,))),
            self.infer,
            self.is_ready,
            **said,
        )


class Caller:
    def __init__(self, server: InferenceServer, ca: Path | None) -> None:
        self.port = server.port
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{server.port}"
        self._ca = ca

    async def ask(self, method: str, path: str, **said: Any) -> requests.Response:
        verify = str(self._ca) if self._ca else None
        return await asyncio.to_thread(requests.request, method, self.url + path, timeout=DEADLINE_S, verify=verify, **said)

    async def infer(self, body: Any, path: str = "/v2/models/double/infer", **said: Any) -> requests.Response:
        return await self.ask("POST", path, json=body, **said)


@asynccontextmanager
async def serving(*models: Served, ca: Path | None = None, **said: Any) -> AsyncIterator[Caller]:
    server = InferenceServer(models, version="0.1.0", **{"port": 0, "size_limit": LIMIT, **said})
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(server.listen(stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield Caller(server, ca)
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def canvas(data: Any = (1, 2), shape: Sequence[int] = (1, 2), **said: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "canvas", "shape": list(shape), "datatype": "FP32", "data": data}], **said}
