"""Whether what is called 30 % is true in 30 of 100 images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Images whose probability lies from low (included) to high (not, but for 1); mean of what was said, share that was true."""

    low: float
    high: float
    images: int
    said: float
    true: float


def reliability(probabilities: NDArray[np.float64], labels: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """Bins of equal width, those without images left out. Raises ValueError for a probability outside 0 to 1."""
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("probabilities lie from 0 to 1")
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    return [
        Bin(n / bins, (n + 1) / bins, int(in_it.sum()), float(probabilities[in_it].mean()), float(labels[in_it].mean()))
        for n in range(bins)
        if (in_it := place == n).any()
    ]


def expected_calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean distance of what was said from what was true, over the bins by their images (Naeini 2015); NaN without images."""
    if not len(probabilities):
        return float("nan")
    several = reliability(probabilities, labels, bins)
    return sum(b.images * abs(b.said - b.true) for b in several) / len(probabilities)
