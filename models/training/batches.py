"""What one step of training sees: drawn from seed and step alone, so that a run started again goes on as it would have."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from models.preprocessing import CANVAS
from models.training.films import Film, Nodules
from models.training.insertion import Insertion, View, render, vary

#: how many nodules a film gets, and how often
MANY, OFTEN = (1, 2, 3, 4), (0.45, 0.25, 0.15, 0.15)


@dataclass(frozen=True)
class Difficulty:
    """What is inserted: diameters in mm (log-uniform), contrast (see insertion.py), and how faint it may be at most."""

    diameters_mm: tuple[float, float]
    enhancement: tuple[float, float]
    faintest: float


@dataclass(frozen=True)
class Batch:
    """canvas: (n, 1, size, size). target: share of nodule in each cell (n, 1, size/4, size/4). films: index of each film drawn.
    paired: every second one shows what the one before shows, without nodules."""

    canvas: Tensor
    target: Tensor
    films: list[int]
    paired: bool


def pairs_of_crops(rng: np.random.Generator, films: list[Film], nodules: Nodules, hard: Difficulty, size: int, count: int) -> Batch:
    """Even: with one to four nodules, one of them in sight. Odd: what the one before shows, by the same equipment, without them."""
    drawn = [int(n) for n in rng.integers(len(films), size=count // 2) for _ in (0, 1)]
    chosen, insertions, views = [films[n] for n in drawn], [], []
    for film in chosen[::2]:
        several = _several(rng, nodules, film, hard)
        x, y = np.array([several[0].x, several[0].y]) + rng.uniform(-0.42, 0.42, 2) * size
        view = _view(rng, film, float(x), float(y))
        insertions += [several, []]
        views += [view, view]
    greys, target = render(chosen, insertions, views, size)
    exponents = [f.exponent for f in chosen]
    equipment = int(rng.integers(2**32))
    varied = greys.clone()
    for half in (slice(0, None, 2), slice(1, None, 2)):
        varied[half] = vary(np.random.default_rng(equipment), greys[half], exponents[half])
    return Batch(varied, target, drawn, paired=True)


def whole_films(rng: np.random.Generator, films: list[Film], nodules: Nodules, hard: Difficulty, count: int) -> Batch:
    """Films of different patients, every other one with nodules."""
    drawn = [int(n) for n in rng.choice(len(films), size=count, replace=False)]
    chosen = [films[n] for n in drawn]
    insertions = [_several(rng, nodules, film, hard) if n % 2 == 0 else [] for n, film in enumerate(chosen)]
    views = [_view(rng, film, *(CANVAS / 2 + rng.uniform(-20, 20, 2)).tolist()) for film in chosen]
    greys, target = render(chosen, insertions, views, CANVAS)
    return Batch(vary(rng, greys, [f.exponent for f in chosen]), target, drawn, paired=False)


def _several(rng: np.random.Generator, nodules: Nodules, film: Film, hard: Difficulty) -> list[Insertion]:
    many = int(rng.choice(MANY, p=OFTEN))
    return [Insertion.draw(rng, nodules, film, hard.diameters_mm, hard.enhancement, hard.faintest) for _ in range(many)]


def _view(rng: np.random.Generator, film: Film, x: float, y: float) -> View:
    """Half of the films as they were taken, half squeezed to a square: pictures are handed on that way."""
    zoom, turn = float(np.exp(rng.uniform(-0.2, 0.25))), float(rng.uniform(-0.2, 0.2))
    squeezed = bool(rng.random() < 0.5)
    return View(x, y, zoom, turn, bool(rng.random() < 0.5), film.squeeze if squeezed else (1.0, 1.0))
