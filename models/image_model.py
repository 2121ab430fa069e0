"""A loaded model as the process that holds it sees it: synchronous, several images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.card import Card
from schemas.errors import RadstreamError
from schemas.findings import ModelIdentity
from schemas.ports import Prediction, Radiograph


class ImageModel(Protocol):
    """What `models.registry.load` gives. Identity, service and threshold as of `schemas.ports.FindingModel`."""

    @property
    def card(self) -> Card: ...

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def service(self) -> str: ...

    @property
    def threshold(self) -> float | None: ...

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        """One answer for each, in their order: what is wrong with one (Unsuitable, ModelFailed) is its answer and spoils no other.
        Raises ModelUnavailable, MemoryError (too many at a time, nothing is lost by fewer): of all of them."""
        ...

    def close(self) -> None: ...
