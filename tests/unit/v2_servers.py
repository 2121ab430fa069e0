"""A v2 server of a test, which says what it is told to, and a network that asks it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from connectors.inference import V2Network
from tests.unit.http_peer import Handler

CANVASES = np.arange(20, dtype=np.float32).reshape(5, 1, 2, 2)
TOO_LATE_S = 10


def network_at(url: str, **said: Any) -> V2Network:
    terms = {"model_name": "chest.network", "model_version": "1", "input_name": "canvas", "output_names": ["heatmap"]}
    return V2Network(url, **{**terms, "max_batch": 2, "timeout_s": 5.0, **said})


def asked(network: V2Network, canvases: np.ndarray = CANVASES) -> Mapping[str, np.ndarray]:
    try:
        return network(canvases)
    finally:
        network.close()


def answer_with(said: Any = None, *, length: int | None = None, **changed: Any) -> tuple[bytes, dict[str, str]]:
    output = {"name": "heatmap", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]} | (said or {})
    envelope = {"model_name": "chest.network", "model_version": "1", "outputs": [output]} | changed
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    return json.dumps(envelope).encode(), headers


class Scripted:
    """Answers by path; each `infer` takes the next answer, the last one again and again."""

    def __init__(self, *infer: Callable[[Handler], None], **told: tuple[int, Any]) -> None:
        self._infer, self._told = list(infer), told
        self.paths: list[str] = []

    def __call__(self, handler: Handler) -> None:
        self.paths.append(handler.path)
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.path.endswith("/infer"):
            (self._infer.pop(0) if len(self._infer) > 1 else self._infer[0])(handler)
        else:
            status, told = self._told.get("ready" if handler.path.endswith("/ready") else "metadata", (404, {"error": "no"}))
            handler.answer(status, "application/json", json.dumps(told).encode())


def with_status(status: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, "application/json", b'{"error": "Mustermann"}', **headers)


def well(**changed: Any) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, "application/json", answer_with(**changed)[0])


READY: dict[str, tuple[int, Any]] = {"ready": (200, {}), "metadata": (200, {"versions": ["1"]})}


def hang(handler: Handler) -> None:
    handler.release.wait()


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.release.wait(0.05):
        handler.wfile.write(b" ")
