"""All figures of a detector on one split: real films by their reports, normal films with a nodule put in."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import interval
from models.evaluation.calibration import reliability
from models.evaluation.films import FilmFigures, Films, age_band, by_group, film_figures
from models.evaluation.froc import hits, threshold_at
from models.evaluation.roc import area_under_curve
from models.training.films import DISEASED, NORMAL, FilmRecord
from models.training.located import AIM, SEED, Located, with_interval
from models.training.pairs import CONTRAST_OF_GROUPS
from models.training.readings import FilmReading, PairReading, Readings, Rule

#: mm: what is told apart
SIZES = ((10.0, 15.0), (15.0, 20.0), (20.0, 30.0))


def figures(readings: Readings, rule: Rule) -> dict[str, Any]:
    return {
        "real": of_real_films(readings.real, rule),
        "real_squeezed": of_real_films(readings.squeezed, rule),
        "inserted": {name: of_inserted(several, rule) for name, several in readings.inserted.items()},
        "inserted_by": by_group_of_inserted(readings.inserted[CONTRAST_OF_GROUPS], rule),
    }


def films_of(several: list[FilmReading], rule: Rule) -> tuple[Films, NDArray[np.bool_]]:
    """All, Nodule or Mass being positive; and which of them are that or No Finding."""
    films = Films(
        np.array([rule.probability(r.answer) for r in several]),
        np.array([bool(r.record.labels & DISEASED) for r in several]),
        np.array([r.record.patient for r in several]),
    )
    return films, films.labels | np.array([r.record.labels == NORMAL for r in several])


def of_real_films(several: list[FilmReading], rule: Rule) -> dict[str, Any]:
    """Whether the report names a nodule or a mass: against all other films and against No Finding; by view, sex and age."""
    films, clear = films_of(several, rule)
    threshold = rule.point.threshold
    groups = _groups(r.record for r in several)

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


def by_group_of_inserted(several: list[PairReading], rule: Rule) -> dict[str, Any]:
    """Located nodules by view, sex and age."""
    located, groups = Located.of(several, rule), _groups(r.pair.record for r in several)
    return {what: {str(n): located[group == n].figures for n in np.unique(group)} for what, group in groups.items()}


def of_inserted(several: list[PairReading], rule: Rule) -> dict[str, Any]:
    """Located nodules against false boxes on the same films without any; by size."""
    located = Located.of(several, rule)
    records = [r.pair.record for r in several]
    diameters = np.array([r.pair.diameter_mm for r in several])
    strengths = np.array([(rule.probability(r.without), rule.probability(r.with_nodule)) for r in several])

    def area(rows: Any) -> float:
        pair = strengths[rows]
        return area_under_curve(pair.T.ravel(), np.repeat([False, True], len(pair)))

    limit = threshold_at(located.matching.false, len(several), AIM)
    sizes = {f"{low:.0f}-{high:.0f}": (low <= diameters) & (diameters < high) for low, high in SIZES}
    drawn = [np.array(rule.drawn(r.with_nodule)).reshape(-1, 4) for r in several]
    hit = [bool(hits(b, np.array(r.pair.box)).any()) for b, r in zip(drawn, several, strict=True)]
    untouched = dict(zip(records, (r.without for r in several), strict=True)).values()
    boxes_at = np.array([sum(a >= rule.point.threshold for a in rule.alarms(answer)) for answer in untouched])
    return {
        **located.figures,
        "median_contrast": float(np.median([r.pair.contrast for r in several])),
        "at_half_a_false_box_by_mm": {name: float(np.mean(located.best[of] > limit)) for name, of in sizes.items() if of.any()},
        "at_threshold": float(np.mean(hit)),
        "films_with_against_without": with_interval(area(np.arange(len(several))), interval(located.whose, area, SEED)),
        "boxes_a_normal_film": float(boxes_at.mean()),
        "normal_films_without_box": float((boxes_at == 0).mean()),
    }


def _groups(records: Iterable[FilmRecord]) -> dict[str, NDArray[np.str_]]:
    told = [(r.view, r.sex, age_band(r.age)) for r in records]
    return {what: np.array([each[n] for each in told]) for n, what in enumerate(("view", "sex", "age"))}


def _table(figures: FilmFigures) -> dict[str, Any]:
    """Without what these films cannot tell."""
    return {name: value for name, value in asdict(figures).items() if not (isinstance(value, dict) and value["value"] is None)}
