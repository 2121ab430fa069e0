"""Pairs of one film, without and with an inserted nodule, as 8-bit images that go through the model's own preprocessing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.local_contrast import STRIDE
from models.preprocessing import CANVAS, GreyScale, Placement
from models.training.batches import Difficulty
from models.training.films import Film, FilmRecord, Nodules, Split, normal_films, read_film
from models.training.insertion import Insertion, View, render

#: what figures are told of: sizes in mm, contrast within what real films show (see insertion.py), and how faint at most
SMALL = Difficulty((10.0, 30.0), (2.0, 2.0), 0.08)
#: inserted nodules, by least contrast in shares of the film's grey range: hardly to be seen, plain, and as they come
CONTRASTS = {
    "at least 0.08": SMALL,
    "at least 0.12": replace(SMALL, faintest=0.12),
    "at least 0.16": replace(SMALL, faintest=0.16),
    "by size alone": replace(SMALL, faintest=0.0),
}
#: at which views, sexes and ages are told of: neither hardly visible nor plain
CONTRAST_OF_GROUPS = "at least 0.12"


@dataclass(frozen=True)
class Pair:
    """without, with_nodule: (rows, columns) float32, whole numbers 0 to 255. box: left, top, right, bottom in their pixels.
    contrast: what the nodule adds at its peak, in shares of the film's grey range."""

    record: FilmRecord
    without: NDArray[np.float32]
    with_nodule: NDArray[np.float32]
    box: tuple[float, float, float, float]
    diameter_mm: float
    contrast: float


def pairs(data: Path, split: Split, per_film: int, seed: int, hard: Difficulty = SMALL) -> Iterator[Pair]:
    """`per_film` pairs of each normal film of the split, in a fixed order; nodules are of the same split. Two `hard` that differ
    in contrast alone give the same nodules in the same places."""
    rng = np.random.default_rng(seed)
    nodules = Nodules.read(data, split)
    for record in normal_films(data, split):
        greys = read_film(record)
        film, curve = Film.of(greys), GreyScale.of(torch.from_numpy(greys))
        place = Placement.of(record.rows, record.columns)
        for _ in range(per_film):
            nodule = Insertion.draw(rng, nodules, film, hard.diameters_mm, hard.enhancement, hard.faintest)
            linear, share = render([film, film], [[], [nodule]], [View(), View()], CANVAS)
            without, with_nodule = (linear[:, 0] * (curve.white - curve.black) + curve.black).round().clamp(0, 255)
            cells = share[1, 0].nonzero().float() * STRIDE
            top, left = (cells.amin(0) - torch.tensor([place.top, place.left])).tolist()
            bottom, right = (cells.amax(0) + STRIDE - torch.tensor([place.top, place.left])).tolist()
            yield Pair(
                record=record,
                without=without[place.content].numpy(),
                with_nodule=with_nodule[place.content].numpy(),
                box=(left, top, right, bottom),
                diameter_mm=nodule.diameter_mm,
                contrast=float(nodule.contrast(film).max()),
            )
