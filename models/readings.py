"""From a network's tensors to what the card says they mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.card import Card, OutputReading, SelfTest
from schemas.errors import ModelFailed
from schemas.outputs import Output

Tensors = Mapping[str, NDArray[np.float32]]


def check_shapes(card: Card, tensors: Tensors, images: int) -> None:
    """Raises ModelFailed: a tensor that the card reads is missing, or has another shape. Others may be there."""
    wanted: dict[str, str] = {}
    if card.heatmap is not None:
        cells = card.input.canvas // card.heatmap.stride
        if _shape(tensors, card.heatmap.tensor) != (images, 1, cells, cells):
            wanted[card.heatmap.tensor] = f"({images}, 1, {cells}, {cells})"
    for name, columns in card.column_tensors.items():
        shape, stated = _shape(tensors, name), len(card.self_test.columns[name])
        if shape is None or len(shape) != 2 or shape[0] != images or shape[1] < columns or shape[1] != stated:
            wanted[name] = f"({images}, {stated})"
    for name, right in wanted.items():
        said = f"has shape {_shape(tensors, name)}, not {right}" if name in tensors else "is missing"
        raise ModelFailed("analyse", f"{card.name}/{card.version}", f"the network's tensor {name} {said}: the card does not fit it")


def _shape(tensors: Tensors, name: str) -> tuple[int, ...] | None:
    return tensors[name].shape if name in tensors else None


def outputs(card: Card, tensors: Tensors, image: int) -> tuple[Output, ...]:
    """Of one image, in the card's order."""
    return tuple(
        Output(
            name=reading.name,
            coding=reading.coding,
            value=_value(reading, tensors[reading.tensor][image]),
            unit=reading.unit,
            threshold=reading.threshold,
        )
        for reading in card.outputs
    )


def _value(reading: OutputReading, columns: NDArray[np.float32]) -> float:
    numbers = columns.astype(np.float64)
    if reading.activation == "softmax":
        odds = np.exp(numbers - numbers.max())
        return float(odds[reading.column] / odds.sum())
    number = float(numbers[reading.column])
    # exp of a positive number could overflow
    return float(np.exp(-np.logaddexp(0.0, -number))) if reading.activation == "sigmoid" else number


def film_logit(card: Card, tensors: Tensors, image: int) -> float:
    """0 where the card reads none."""
    film = card.heatmap.film if card.heatmap else None
    return float(tensors[film.tensor][image, film.column]) if film else 0.0


def deviations(card: Card, seen: Tensors, image: int) -> dict[str, float]:
    """Of each tensor that is read: the greatest difference between what the card says of its self-test and what the network
    answered to it. NaN where a number is none."""
    said, found = card.self_test, dict[str, float]()
    if said.heatmap is not None and card.heatmap is not None:
        logits = seen[card.heatmap.tensor][image].astype(np.float64)
        differences = [logits.max() - said.heatmap.highest, logits.mean() - said.heatmap.mean]
        found[card.heatmap.tensor] = float(np.abs(differences).max())
    for name, columns in said.columns.items():
        found[name] = float(np.abs(seen[name][image].astype(np.float64) - np.array(columns)).max())
    return found


def has_logits(card: Card, tensor: str) -> bool:
    """Whether none of its numbers is read as it is: that may be a probability already, or a size."""
    return not any(reading.tensor == tensor and reading.activation == "none" for reading in card.outputs)


def stated(seen: Tensors, heatmap: str | None, columns: tuple[str, ...], tolerance: float) -> SelfTest:
    """What a card has to say of its self-test, for whoever makes a package."""
    said = None
    if heatmap is not None:
        logits = seen[heatmap][0].astype(np.float64)
        said = {"highest": round(float(logits.max()), 4), "mean": round(float(logits.mean()), 4)}
    rows = {name: [round(float(number), 4) for number in seen[name][0]] for name in columns}
    return SelfTest.model_validate({"tolerance": tolerance, "heatmap": said, "columns": rows})
