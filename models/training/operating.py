"""How answers are read: weights of the network's two parts, probability, threshold, outline. From the validation split alone."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.evaluation.froc import hits
from models.evaluation.roc import area_under_curve
from models.postprocessing import OperatingPoint
from models.training.films import DISEASED, NORMAL
from models.training.readings import Answer, FilmReading, PairReading, Rule

#: boxes a normal film of the validation split may get, on average
ALLOWED_BOXES = 0.5
#: how much the film's logit may count beside the strength of its heatmap
FILM_SHARES = (0.0, 0.5, 1.0, 2.0, 4.0)
#: lower ones fit a single nodule better still, and make one box of neighbouring masses (RG1_UNCR)
OUTLINES = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)


def logistic(features: NDArray[np.float64], truth: NDArray[np.bool_], ridge: float = 1e-3) -> NDArray[np.float64]:
    """Weights of the columns, then the offset: a logistic regression by Newton's method."""
    design = np.column_stack([features, np.ones(len(features))])
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        share = 1 / (1 + np.exp(-design @ weights))
        curvature = design.T @ (design * (share * (1 - share))[:, None]) + ridge * np.eye(len(weights))
        weights += np.linalg.solve(curvature, design.T @ (truth - share) - ridge * weights)
    return weights


def combine(films: list[FilmReading]) -> Rule:
    """Slopes and offset of the probability that a report names a nodule or a mass. The film's share is that of the best areas under
    the curve, against all others and against No Finding: a regression on few positive films gave it far too much."""
    strengths, logits = np.array([(r.answer.strength, r.answer.film) for r in films]).T
    truth = np.array([bool(r.record.labels & DISEASED) for r in films])
    clear = truth | np.array([r.record.labels == NORMAL for r in films])

    def quality(share: float) -> float:
        scores = strengths + share * logits
        return area_under_curve(scores, truth) + area_under_curve(scores[clear], truth[clear])

    share = max(FILM_SHARES, key=quality)
    slope, offset = logistic((strengths + share * logits)[:, None], truth).tolist()
    return Rule(OperatingPoint(0.5, 0.0, round(slope, 4), round(offset, 4)), round(slope * share, 4))


def threshold(normal: list[Answer], rule: Rule) -> float:
    """The lowest, to four digits, at which normal films get at most ALLOWED_BOXES on average."""
    every = np.sort([alarm for answer in normal for alarm in rule.alarms(answer)])[::-1]
    allowed = math.floor(ALLOWED_BOXES * len(normal))
    return min(math.floor(float(every[allowed]) * 1e4 + 1) / 1e4, 0.9999) if allowed < len(every) else 0.0001


def rule_of(films: list[FilmReading], pairs: list[PairReading]) -> Rule:
    """The whole of it, from the validation split. Outline: where the boxes of located nodules fit best."""
    first = combine(films)
    several = [replace(first, point=replace(first.point, outline=outline)) for outline in OUTLINES]
    best = max(several, key=lambda rule: outline_quality(pairs, rule))
    normal = [r.answer for r in films if r.record.labels == NORMAL]
    return replace(best, point=replace(best.point, threshold=threshold(normal, best)))


def outline_quality(pairs: list[PairReading], rule: Rule) -> float:
    """Mean overlap (intersection over union) of each nodule with the best of the regions that hit it; 0 where none does."""
    overlaps = []
    for reading in pairs:
        nodule = np.array(reading.pair.box)
        found = np.array([edges for _, edges in rule.found(reading.with_nodule)])
        hit = found[hits(found, nodule)] if len(found) else found
        overlaps.append(max((_overlap(box, nodule) for box in hit), default=0.0))
    return float(np.mean(overlaps))


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(shared / (areas - shared))
