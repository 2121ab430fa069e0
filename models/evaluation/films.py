"""All figures of one set of films, and of its groups."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import DRAWS, Interval, interval
from models.evaluation.calibration import expected_calibration_error
from models.evaluation.roc import Labels, Scores, area_under_curve, sensitivity, specificity

#: first year of each age band
AGES = (18, 40, 60, 80)
#: patients: of fewer a bootstrap draws the same ones again, and its interval pretends
FEW = 5


def age_band(age: float | None) -> str:
    """Completed years -> "under 18", "18-39", "40-59", "60-79", "80 and over", "unknown"."""
    if age is None or math.isnan(age):
        return "unknown"
    if age < AGES[0]:
        return f"under {AGES[0]}"
    for first, following in pairwise(AGES):
        if age < following:
            return f"{first}-{following - 1}"
    return f"{AGES[-1]} and over"


@dataclass(frozen=True)
class Films:
    """One row a film: calibrated probability, whether it is positive, whose it is."""

    probabilities: Scores
    labels: Labels
    patients: NDArray[Any]

    def __getitem__(self, rows: NDArray[Any]) -> "Films":
        return Films(self.probabilities[rows], self.labels[rows], self.patients[rows])


@dataclass(frozen=True)
class Figure:
    """value: None when these films cannot tell (no positive, no negative). interval: 95 %, by bootstrap over patients; None where
    it would be of fewer than FEW of them, or all draws say the same: "1.0 to 1.0" of six films is no certainty."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class FilmFigures:
    films: int
    positives: int
    patients: int
    threshold: float
    area_under_curve: Figure
    sensitivity: Figure
    specificity: Figure
    calibration_error: Figure


def film_figures(films: Films, threshold: float, seed: int, draws: int = DRAWS) -> FilmFigures:
    """What a table says of these films."""
    positive, negative = (len(np.unique(films.patients[rows])) for rows in (films.labels, ~films.labels))

    def figure(statistic: Callable[[Scores, Labels], float], patients: int) -> Figure:
        value = statistic(films.probabilities, films.labels)
        if math.isnan(value):
            return Figure(None, None)
        if patients < FEW:
            return Figure(value, None)
        between = interval(films.patients, lambda r: statistic(films.probabilities[r], films.labels[r]), seed, draws)
        return Figure(value, between if between and between[0] < between[1] else None)

    return FilmFigures(
        films=len(films.labels),
        positives=int(films.labels.sum()),
        patients=len(np.unique(films.patients)),
        threshold=threshold,
        area_under_curve=figure(area_under_curve, min(positive, negative)),
        sensitivity=figure(lambda p, y: sensitivity(p, y, threshold), positive),
        specificity=figure(lambda p, y: specificity(p, y, threshold), negative),
        calibration_error=figure(expected_calibration_error, min(positive, negative)),
    )


def by_group(
    films: Films, groups: NDArray[Any], threshold: float, seed: int, draws: int = DRAWS
) -> Iterator[tuple[str, FilmFigures]]:
    """The figures of each group (view, sex, `age_band`), in the order of their names."""
    for name in sorted({str(g) for g in groups}):
        yield name, film_figures(films[groups.astype(str) == name], threshold, seed, draws)
