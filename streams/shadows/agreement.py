"""How far two models agree, as numbers: presence, places, scores. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

#: two boxes are of one finding when this share of their union is common, or the centre of one lies in the other
SHARED = 0.2
BINS = 10
_DRAWS, _SEED = 1000, 1


class Table(NamedTuple):
    """How often both models say present, only the one in use, only the candidate, neither."""

    both: int = 0
    in_use_only: int = 0
    candidate_only: int = 0
    neither: int = 0

    @classmethod
    def of(cls, in_use: bool, candidate: bool) -> Table:
        """One answer of each."""
        return cls(in_use and candidate, in_use and not candidate, candidate and not in_use, not (in_use or candidate))

    def plus(self, other: Table) -> Table:
        return Table(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Agreement:
    """`kappa`: Cohen 1960, None where chance alone would agree on everything (all present, or none). `interval`: 95 %, None where
    draws cannot tell it."""

    table: Table
    kappa: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Spread:
    """Of a difference, candidate minus in use. Percentiles are interpolated between the two nearest values."""

    number: int
    mean: float
    median: float
    percentile_5: float
    percentile_95: float


class Box(NamedTuple):
    """A finding's place in pixels of its image, and what it is called."""

    image: str
    left: float
    top: float
    width: float
    height: float
    kind: str = ""

    @property
    def area(self) -> float:
        return self.width * self.height

    def holds_the_centre_of(self, other: Box) -> bool:
        x, y = other.left + other.width / 2, other.top + other.height / 2
        return self.left <= x <= self.left + self.width and self.top <= y <= self.top + self.height

    def overlap(self, other: Box) -> float:
        """Intersection over union; 0 on another image."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        if self.image != other.image or wide <= 0 or high <= 0:
            return 0.0
        return wide * high / (self.area + other.area - wide * high)


def kappa(table: Table) -> float | None:
    """Cohen's: how much more than by chance the two agree."""
    number = sum(table)
    in_use, candidate = table.both + table.in_use_only, table.both + table.candidate_only
    chance = in_use * candidate + (number - in_use) * (number - candidate)  # times number squared
    if chance == number * number:
        return None
    return ((table.both + table.neither) * number - chance) / (number * number - chance)


def agreement(studies: Iterable[Table]) -> Agreement:
    """One table a study: the states of one say much the same, so studies are drawn, with replacement, for the interval (percentile
    method, 1,000 draws, seeded)."""
    kinds = Counter(studies)
    tables = np.array(list(kinds), dtype=np.int64).reshape(-1, 4)
    times = np.array(list(kinds.values()), dtype=np.int64)
    whole = Table(*(int(number) for number in times @ tables)) if kinds else Table()
    return Agreement(whole, kappa(whole), _interval(tables, times))


def _interval(tables: np.ndarray, times: np.ndarray) -> tuple[float, float] | None:
    """Studies with the same table are alike: how often each table is drawn is multinomial."""
    number = int(times.sum())
    if number < 2:
        return None
    draws = np.random.default_rng(_SEED).multinomial(number, times / number, size=_DRAWS) @ tables
    known = [value for draw in draws if (value := kappa(Table(*map(int, draw)))) is not None]
    if 2 * len(known) <= _DRAWS:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def matches(in_use: Sequence[Box], candidate: Sequence[Box]) -> list[tuple[Box, Box]]:
    """Boxes of one finding, each at most once: those that share most come first."""
    near = [
        (overlap, n, m)
        for (n, one), (m, other) in product(enumerate(in_use), enumerate(candidate))
        if (overlap := one.overlap(other)) >= SHARED
        or (one.image == other.image and (one.holds_the_centre_of(other) or other.holds_the_centre_of(one)))
    ]
    found: dict[int, int] = {}
    for _, n, m in sorted(near, key=lambda pair: -pair[0]):
        if n not in found and m not in found.values():
            found[n] = m
    return [(in_use[n], candidate[m]) for n, m in sorted(found.items())]


def spread(differences: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not differences:
        return None
    low, median, high = np.percentile(differences, [5, 50, 95])
    return Spread(len(differences), math.fsum(differences) / len(differences), float(median), float(low), float(high))


def histogram(probabilities: Iterable[float]) -> tuple[int, ...]:
    """Ten bins of 0.1; the last one holds 1.0 too."""
    counts = [0] * BINS
    for probability in probabilities:
        counts[min(int(probability * BINS), BINS - 1)] += 1
    return tuple(counts)
