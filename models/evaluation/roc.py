"""How well scores tell positive images from negative ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]


def area_under_curve(scores: Scores, labels: Labels) -> float:
    """Share of all positive-negative couples in the right order, ties count half; NaN when one of the two is absent."""
    negative, positive = np.sort(scores[~labels]), scores[labels]
    if not len(negative) or not len(positive):
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    not_above = np.searchsorted(negative, positive, "right")
    return float((below + not_above).sum() / (2 * len(negative) * len(positive)))


@dataclass(frozen=True)
class RocPoint:
    """What is found, and what alarms wrongly, when every score from `threshold` on alarms."""

    threshold: float
    sensitivity: float
    false_positive_rate: float


def roc_points(scores: Scores, labels: Labels) -> list[RocPoint]:
    """From nothing alarms (threshold infinite) to everything does; one point a distinct score. Both kinds must be there, else
    ValueError."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        raise ValueError("a ROC curve needs positive and negative images")
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], np.cumsum(labels[order])
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    points = [RocPoint(float("inf"), 0.0, 0.0)]
    return points + [RocPoint(float(ordered[n]), float(hit[n] / positives), float((n + 1 - hit[n]) / negatives)) for n in last]


def sensitivity(scores: Scores, labels: Labels, threshold: float) -> float:
    """Share of the positive images that reach the threshold; NaN when there are none."""
    return _share(scores[labels] >= threshold)


def specificity(scores: Scores, labels: Labels, threshold: float) -> float:
    """Share of the negative images that stay below the threshold; NaN when there are none."""
    return _share(scores[~labels] < threshold)


def _share(several: Labels) -> float:
    return float(several.mean()) if several.size else float("nan")
