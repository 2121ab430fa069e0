"""The models of benchmarks/inference.py, as a process of its own can load them: the package's network on ready canvases, and the
package as the engine uses it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.image_model import ImageModel
from models.inference import PackageModel
from models.registry import load
from schemas.errors import RadstreamError
from schemas.findings import AnalysedImage
from schemas.identifiers import SOPInstanceUID
from schemas.ports import Prediction, Radiograph


class OnCanvases:
    """An `ImageModel` to which a radiograph is a ready canvas, its channels one below the other; its answer is the first number."""

    def __init__(self, model: PackageModel) -> None:
        self.card, self.identity, self.service, self.threshold = model.card, model.identity, model.service, model.threshold
        self._network = model.network

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        tensors = self._network(np.stack([canvas_of(one) for one in radiographs]))
        firsts = next(iter(tensors.values())).reshape(len(radiographs), -1)[:, 0]
        return [_prediction(one, float(first)) for one, first in zip(radiographs, firsts, strict=True)]

    def close(self) -> None:
        self._network.close()


class Reading:
    """An `ImageModel` that reads the pixels once, as any does that puts them onto a canvas, and computes nothing."""

    def __init__(self, model: ImageModel) -> None:
        self.card, self.identity, self.service, self.threshold = model.card, model.identity, model.service, model.threshold

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        return [_prediction(one, float(np.asarray(one.pixels, np.float32)[-1, -1] > 0)) for one in radiographs]

    def close(self) -> None:
        """Holds nothing."""


def as_radiograph(canvas: NDArray[np.float32]) -> Radiograph:
    """(channels, side, side)"""
    return Radiograph(SOPInstanceUID("1.2.3"), canvas.reshape(-1, canvas.shape[-1]), "0" * 64)


def canvas_of(radiograph: Radiograph) -> NDArray[np.float32]:
    return radiograph.pixels.reshape(-1, radiograph.pixels.shape[-1], radiograph.pixels.shape[-1])


def _prediction(radiograph: Radiograph, first: float) -> Prediction:
    rows, columns = radiograph.pixels.shape
    probability = 1 / (1 + np.exp(-first))
    image = AnalysedImage(
        sop_instance_uid=radiograph.sop_instance_uid,
        pixel_sha256=radiograph.pixel_sha256,
        rows=rows,
        columns=columns,
        probability=probability,
    )
    return Prediction(image, ())


def load_forward(package: Path, device: str, threads: int) -> ImageModel:
    return OnCanvases(load_whole(package, device, threads))


def load_whole(package: Path, device: str, threads: int) -> PackageModel:
    return load(package, device=device, threads=threads, fast=True)


def load_reading(package: Path, device: str, threads: int) -> ImageModel:
    return Reading(load_whole(package, "cpu", threads))


LOADS = (load_forward, load_whole, load_reading)
