"""A loaded model as the process that holds it sees it: synchronous, several images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.card import Card
from schemas.errors import RadstreamError
from schemas.findings import ModelIdentity
from schemas.ports import Prediction, Radiograph


class Described(Protocol):
    """What a model says of itself: its card, and identity, service and threshold as of `schemas.ports.FindingModel`."""

    @property
    def card(self) -> Card: ...

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def service(self) -> str: ...

    @property
    def threshold(self) -> float | None: ...


class ImageModel(Described, Protocol):
    """What `models.registry.load` gives."""

    def predict_all(self, radiographs: Sequence[Radiograph]) -> list[Prediction | RadstreamError]:
        """One answer for each, in their order: what is wrong with one (Unsuitable, ModelFailed) is its answer and spoils no other.
        Raises ModelUnavailable, MemoryError (too many at a time, nothing is lost by fewer): of all of them."""
        ...

    def close(self) -> None: ...


class Around:
    """Says of itself what the model inside it says."""

    _inside: Described

    @property
    def card(self) -> Card:
        return self._inside.card

    @property
    def identity(self) -> ModelIdentity:
        return self._inside.identity

    @property
    def service(self) -> str:
        return self._inside.service

    @property
    def threshold(self) -> float | None:
        return self._inside.threshold
