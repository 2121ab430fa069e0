"""Free-response ROC (Bunch 1977): how many lesions are found, against how many boxes an image lie on none."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: false positives an image at which sensitivity is told
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: a box whose centre lies in the lesion's may be this many times as large; else this share of their union must be common
LARGEST, SHARED = 9.0, 0.2


@dataclass(frozen=True)
class Boxes:
    """image: number of the image each box lies on, (n,). edges: left, top, right, bottom in its pixels, (n, 4). scores: (n,), of
    found boxes alone."""

    image: NDArray[np.int64]
    edges: NDArray[np.float64]
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Matching:
    """lesions: highest score of the boxes that hit each lesion, -inf when none does. lesion_images: which image each lies on.
    false: scores of the boxes that hit no lesion. false_images: which image each lies on."""

    lesions: NDArray[np.float64]
    lesion_images: NDArray[np.int64]
    false: NDArray[np.float64]
    false_images: NDArray[np.int64]


def hits(found: NDArray[np.float64], lesion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (n, 4) hit the lesion (4,): centre in the lesion's box and at most LARGEST times its area, or SHARED of
    their union in common."""
    left, top, right, bottom = found.T
    x, y = (left + right) / 2, (top + bottom) / 2
    area, its = (right - left) * (bottom - top), (lesion[2] - lesion[0]) * (lesion[3] - lesion[1])
    wide = np.clip(np.minimum(right, lesion[2]) - np.maximum(left, lesion[0]), 0, None)
    high = np.clip(np.minimum(bottom, lesion[3]) - np.maximum(top, lesion[1]), 0, None)
    centred = (lesion[0] <= x) & (x <= lesion[2]) & (lesion[1] <= y) & (y <= lesion[3]) & (area <= LARGEST * its)
    answer: NDArray[np.bool_] = centred | (wide * high >= SHARED * (area + its - wide * high))
    return answer


def match(found: Boxes, lesions: Boxes) -> Matching:
    """Every found box against the lesions of its image. Several boxes on one lesion are one hit and no false positive. Raises
    ValueError when the found boxes have no scores."""
    if found.scores is None:
        raise ValueError("found boxes need scores")
    best = np.full(len(lesions.image), -np.inf)
    idle = np.ones(len(found.image), dtype=bool)
    for n, (image, edges) in enumerate(zip(lesions.image, lesions.edges, strict=True)):
        hit = np.flatnonzero(found.image == image)
        hit = hit[hits(found.edges[hit], edges)]
        idle[hit] = False
        best[n] = found.scores[hit].max(initial=-np.inf)
    return Matching(best, lesions.image, found.scores[idle], found.image[idle])


def threshold_at(false: NDArray[np.float64], images: int, rate: float) -> float:
    """The score that boxes must exceed so that at most `rate` false ones an image are left."""
    allowed = int(np.floor(rate * images + 1e-9))
    highest = np.sort(false)[::-1]
    return float(highest[allowed]) if allowed < len(highest) else -np.inf


def sensitivity_at(matching: Matching, images: int, rate: float) -> float:
    """Share of the lesions found at that many false positives an image; NaN when there are no lesions.

    images: all on which boxes were looked for, those without a lesion included.
    """
    if not len(matching.lesions):
        return float("nan")
    return float((matching.lesions > threshold_at(matching.false, images, rate)).mean())


def froc(matching: Matching, images: int, rates: tuple[float, ...] = RATES) -> dict[float, float]:
    """Sensitivity at each of the rates."""
    return {rate: sensitivity_at(matching, images, rate) for rate in rates}


@dataclass(frozen=True)
class FrocPoint:
    """When every box with a score of `threshold` or more counts."""

    threshold: float
    sensitivity: float
    false_positives_per_image: float


def froc_points(matching: Matching, images: int) -> list[FrocPoint]:
    """One point a distinct score, the highest first. Raises ValueError when there are no lesions."""
    if not len(matching.lesions):
        raise ValueError("a FROC curve needs lesions")
    seen = np.unique(np.concatenate([matching.lesions[np.isfinite(matching.lesions)], matching.false]))[::-1]
    return [FrocPoint(float(t), float((matching.lesions >= t).mean()), float((matching.false >= t).sum() / images)) for t in seen]
