"""All figures of a detector on one split: real films by their reports, normal films with a nodule put in."""

from dataclasses import asdict
from typing import Any

import numpy as np

from models.evaluation.bootstrap import Interval, interval
from models.evaluation.calibration import reliability
from models.evaluation.films import FilmFigures, Films, age_band, by_group, film_figures
from models.evaluation.froc import Boxes, Matching, froc, hits, match, sensitivity_at, threshold_at
from models.evaluation.roc import area_under_curve
from models.training.films import DISEASED, NORMAL
from models.training.readings import FilmReading, PairReading, Rule

SEED = 20261129
#: false positives a normal film at which sensitivity is told with an interval
AIM = 0.5
#: mm: what is told apart
SIZES = ((10.0, 15.0), (15.0, 20.0), (20.0, 30.0))


def of_real_films(several: list[FilmReading], rule: Rule) -> dict[str, Any]:
    """Whether the report names a nodule or a mass: against all other films and against No Finding; by view, sex and age."""
    films = Films(
        np.array([rule.probability(r.answer) for r in several]),
        np.array([bool(r.record.labels & DISEASED) for r in several]),
        np.array([r.record.patient for r in several]),
    )
    normal = np.array([r.record.labels == NORMAL for r in several])
    threshold = rule.point.threshold
    groups = {
        "view": np.array([r.record.view for r in several]),
        "sex": np.array([r.record.sex for r in several]),
        "age": np.array([age_band(r.record.age) for r in several]),
    }
    clear = films.labels | normal

    def each(rows: Any) -> dict[str, dict[str, Any]]:
        grouped = {what: by_group(films[rows], group[rows], threshold, SEED) for what, group in groups.items()}
        return {what: {name: _table(figures) for name, figures in several} for what, several in grouped.items()}

    return {
        "against_all_others": _table(film_figures(films, threshold, SEED)),
        "against_no_finding": _table(film_figures(films[clear], threshold, SEED)),
        "by": each(np.ones(len(several), dtype=bool)),
        "by_against_no_finding": each(clear),
        "reliability": [asdict(b) for b in reliability(films.probabilities, films.labels)],
    }


def of_inserted(several: list[PairReading], rule: Rule) -> dict[str, Any]:
    """Located nodules against false boxes on the same films without any; false boxes beside a nodule are not counted twice."""
    normal = {r.pair.film: r.without for r in several}
    false = [[p for p, _ in rule.found(answer)] for answer in normal.values()]
    found = [rule.found(r.with_nodule) for r in several]
    edges = np.array([box for each in found for _, box in each]).reshape(-1, 4)
    scores = np.array([p for each in found for p, _ in each])
    where = np.repeat(np.arange(len(several)), [len(each) for each in found])
    lesions = Boxes(np.arange(len(several)), np.array([r.pair.box for r in several]))
    best = match(Boxes(where, edges, scores), lesions).lesions
    films = list(normal)
    whose = np.array([r.pair.patient for r in several])
    film_of = np.array([films.index(r.pair.film) for r in several])
    diameters = np.array([r.pair.diameter_mm for r in several])

    def matching(rows: Any) -> Matching:
        """Of the pairs drawn; a film's false boxes count as often as its pairs were drawn, and so does the film."""
        drawn = film_of[rows]
        return Matching(best[rows], drawn, np.array([p for n in drawn for p in false[n]]), drawn)

    def at_aim(rows: Any) -> float:
        return sensitivity_at(matching(rows), len(rows), AIM)

    everything = np.arange(len(several))
    strengths = np.array([(rule.probability(r.without), rule.probability(r.with_nodule)) for r in several])

    def area(rows: Any) -> float:
        pair = strengths[rows]
        return area_under_curve(pair.T.ravel(), np.repeat([False, True], len(pair)))

    limit = threshold_at(matching(everything).false, len(several), AIM)
    drawn = [np.array(rule.drawn(r.with_nodule)).reshape(-1, 4) for r in several]
    located = [bool(hits(b, np.array(r.pair.box)).any()) for b, r in zip(drawn, several, strict=True)]
    boxes_at = np.array([sum(a >= rule.point.threshold for a in rule.alarms(w)) for w in normal.values()])
    return {
        "pairs": len(several),
        "films": len(films),
        "patients": len(set(whose)),
        "median_contrast": float(np.median([r.pair.contrast for r in several])),
        "froc": {str(rate): s for rate, s in froc(matching(everything), len(several)).items()},
        "at_half_a_false_box": _with_interval(at_aim(everything), interval(whose, at_aim, SEED)),
        "at_half_a_false_box_by_mm": {
            f"{low:.0f}-{high:.0f}": float(np.mean(best[(low <= diameters) & (diameters < high)] > limit))
            for low, high in SIZES
            if ((low <= diameters) & (diameters < high)).any()
        },
        "at_threshold": float(np.mean(located)),
        "films_with_against_without": _with_interval(area(everything), interval(whose, area, SEED)),
        "boxes_a_normal_film": float(boxes_at.mean()),
        "normal_films_without_box": float((boxes_at == 0).mean()),
    }


def _with_interval(value: float, between: Interval | None) -> dict[str, Any]:
    return {"value": value, "interval": list(between) if between else None}


def _table(figures: FilmFigures) -> dict[str, Any]:
    """Without what these films cannot tell."""
    return {name: value for name, value in asdict(figures).items() if not (isinstance(value, dict) and value["value"] is None)}
