"""Intervals by drawing patients, not images: the films of one person say much the same."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
Interval = tuple[float, float]


def interval(
    patients: NDArray[Any], statistic: Callable[[NDArray[np.int64]], float], seed: int, draws: int = DRAWS
) -> Interval | None:
    """95 %: the statistic over draws of whole patients, with replacement (percentile method, Efron 1979).

    patients: whose each row is. statistic: of the rows drawn, by number; NaN where a draw cannot tell (no positive among them).
    None when more than half of the draws cannot tell, or there is but one patient.
    """
    _, whose = np.unique(patients, return_inverse=True)
    members = [np.flatnonzero(whose == n) for n in range(int(whose.max(initial=-1)) + 1)]
    if len(members) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(members), size=len(members)) for _ in range(draws))
    values = [statistic(np.concatenate([members[n] for n in several])) for several in drawn]
    known = [v for v in values if not math.isnan(v)]
    if 2 * len(known) <= draws:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
