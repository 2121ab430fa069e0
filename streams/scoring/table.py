"""The table of `radstream model score`: one row a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

from schemas.findings import Finding, ModelIdentity
from schemas.ports import Prediction

#: followed by one column for each output that the model's card names
COLUMNS = ("file", "model_name", "model_version", "suitable", "reason", "probability", "boxes")


@dataclass(frozen=True, slots=True)
class Row:
    """`suitable`: the model has seen it; `reason`: why not, or what was ignored so that it could."""

    file: str
    suitable: bool
    reason: str = ""
    probability: float | None = None
    boxes: tuple[Finding, ...] = ()
    outputs: Mapping[str, float] = field(default_factory=dict)


def not_suitable(file: str, reason: str) -> Row:
    return Row(file, suitable=False, reason=" ".join(reason.split()))


def seen(file: str, prediction: Prediction, reason: str = "") -> Row:
    image = prediction.image
    outputs = {output.name: output.value for output in image.outputs}
    return Row(file, suitable=True, reason=reason, probability=image.probability, boxes=prediction.findings, outputs=outputs)


class Table:
    """Written row by row: what ends it in between leaves whole rows."""

    def __init__(self, file: TextIO, model: ModelIdentity, outputs: Sequence[str]) -> None:
        self._file = file
        self._model = model
        self._outputs = outputs
        self._csv = csv.writer(file, lineterminator="\n")
        self._write([*COLUMNS, *outputs])

    def add(self, row: Row) -> None:
        told = [row.file, self._model.name, self._model.version, "true" if row.suitable else "false", row.reason]
        named = (row.outputs.get(name) for name in self._outputs)
        self._write([*told, _decimal(row.probability), _boxes(row.boxes), *map(_decimal, named)])

    def _write(self, cells: Sequence[str]) -> None:
        self._csv.writerow(cells)
        self._file.flush()


def _decimal(value: float | None) -> str:
    """Seven significant digits, more than which no processor agrees on; never with an exponent."""
    return "" if value is None else np.format_float_positional(value, precision=7, fractional=False, unique=True, trim="0")


def _boxes(findings: Sequence[Finding]) -> str:
    """Pixels of the file's image, from the outer corner of its upper left pixel."""
    return json.dumps([_box(finding) for finding in findings], separators=(",", ":"))


def _box(finding: Finding) -> dict[str, float | str]:
    region = finding.region
    edges = {"left": region.left, "top": region.top, "width": region.width, "height": region.height}
    told: dict[str, float | str] = {name: round(value, 2) for name, value in edges.items()}
    return told | {"probability": round(finding.probability, 6), "kind": str(finding.kind)}
