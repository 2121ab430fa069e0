"""How good a model is on a site's own images: its scores beside labels, with the measures of `models.evaluation`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Interval, interval
from models.evaluation.calibration import Bin, reliability
from models.evaluation.films import FilmFigures, Films, age_band, by_group, film_figures
from models.evaluation.froc import RATES, Boxes, FrocPoint, Matching, froc, froc_points, match, sensitivity_at
from models.evaluation.roc import RocPoint, roc_points
from schemas.errors import SettingsInvalid
from streams.scoring.labels import Box, Labelled, Names, Scored

SEED = 20261129
#: an age with its unit (AS, PS3.5 6.2): 058Y, 011M; or years alone
_AGE = re.compile(r"0*(\d{1,3})(?:\.\d+)?\s*([YMWD]?)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Joined:
    """Images that have both a label and a probability. `left_out`: rows of either table that have no part in it, and why."""

    labels: tuple[Labelled, ...]
    scores: tuple[Scored, ...]
    left_out: Mapping[str, int]
    not_suitable: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Froc:
    """`at`: sensitivity at so many false positives an image, with its interval. `images`: with lesions, or negative."""

    images: int
    lesions: int
    at: Mapping[float, tuple[float, Interval | None]]
    points: tuple[FrocPoint, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`figures`: by comparison ("all others", "No Finding"). `groups`: against all others, by column and value."""

    model: str
    threshold: float
    joined: Joined
    patients_known: bool
    figures: Mapping[str, FilmFigures]
    groups: Mapping[str, Mapping[str, FilmFigures]]
    reliability: tuple[Bin, ...]
    roc: Mapping[str, tuple[RocPoint, ...]]
    froc: Froc | None = None


def joined(labels: Sequence[Labelled], scores: Sequence[Scored]) -> Joined:
    """Each label row with the score row of its file. Raises SettingsInvalid when no row is left."""
    names = Names([row.file for row in scores], [label.file for label in labels])
    left_out: Counter[str] = Counter()
    not_suitable: Counter[str] = Counter()
    taken: dict[int, Labelled] = {}
    met: set[int] = set()
    for label in labels:
        meant = names.meant_by(label.file)
        met.update(meant)
        if len(meant) != 1:
            left_out["label rows without a score" if not meant else "label rows whose file name several scores have"] += 1
        elif meant[0] in taken:
            left_out["label rows of a file that has one already"] += 1
        elif label.positive is None:
            left_out["label rows that say neither yes nor no"] += 1
        elif not scores[meant[0]].suitable:
            not_suitable[scores[meant[0]].reason] += 1
        elif scores[meant[0]].probability is None:
            left_out["images without a probability"] += 1
        else:
            taken[meant[0]] = label
    if unlabelled := len(scores) - len(met):
        left_out["scores without a label row"] = unlabelled
    if not taken:
        raise SettingsInvalid("evaluate", "--labels", "no row of labels has a scored image: do the file names agree?")
    return Joined(tuple(taken.values()), tuple(scores[n] for n in taken), dict(left_out), dict(not_suitable))


def evaluation(rows: Joined, threshold: float, lesions: Mapping[str, Sequence[Box]] | None, draws: int) -> Evaluation:
    """All figures. Raises SettingsInvalid: several models in one table, or only positive or only negative images."""
    models = {row.model for row in rows.scores}
    if len(models) > 1:
        raise SettingsInvalid("evaluate", "--scores", "holds scores of several models: evaluate one at a time")
    films = films_of(rows)
    if films.labels.all() or not films.labels.any():
        raise SettingsInvalid("evaluate", "--labels", "positive and negative images are needed: see --positive")
    compared = {"all others": np.arange(len(films.labels))}
    if any(label.nothing is not None for label in rows.labels):
        nothing = np.array([bool(label.nothing) for label in rows.labels])
        if (nothing & ~films.labels).any():
            compared["No Finding"] = np.flatnonzero(films.labels | nothing)
    return Evaluation(
        model=models.pop(),
        threshold=threshold,
        joined=rows,
        patients_known=all(label.patient is not None for label in rows.labels),
        figures={name: film_figures(films[chosen], threshold, SEED, draws) for name, chosen in compared.items()},
        groups={name: dict(by_group(films, values, threshold, SEED, draws)) for name, values in groups_of(rows.labels).items()},
        reliability=tuple(reliability(films.probabilities, films.labels)),
        roc={name: tuple(roc_points(films[chosen].probabilities, films[chosen].labels)) for name, chosen in compared.items()},
        froc=None if lesions is None else localisation(rows, lesions, draws),
    )


def films_of(rows: Joined) -> Films:
    """Who has no patient is a patient of its own."""
    patients = [label.patient or f"\0{number}" for number, label in enumerate(rows.labels)]
    return Films(
        np.array([row.probability for row in rows.scores], dtype=np.float64),
        np.array([label.positive for label in rows.labels], dtype=np.bool_),
        np.array(patients),
    )


def groups_of(labels: Sequence[Labelled]) -> dict[str, NDArray[np.str_]]:
    """By view, sex and age, of those that the table has."""
    columns = [name for name in ("view", "sex", "age") if name in labels[0].groups]
    return {name: np.array([_group(name, label.groups[name]) for label in labels]) for name in columns}


def _group(column: str, value: str) -> str:
    if column == "age":
        return age_band(years_of(value))
    return value.upper() if 0 < len(value) <= 16 else "unknown"


def years_of(age: str) -> float | None:
    """Completed years of "58", "058Y" or "011M"; None: it says none."""
    told = _AGE.match(age.strip())
    if told is None:
        return None
    return float(int(told[1]) // {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[told[2].upper()])


def localisation(rows: Joined, lesions: Mapping[str, Sequence[Box]], draws: int) -> Froc:
    """Of the images whose lesions are marked and of the negative ones: where a positive image has no mark, nobody knows what a box
    lies on. Raises SettingsInvalid: no marked image was scored."""
    names = Names([row.file for row in rows.scores], lesions)
    marked: dict[int, list[Box]] = {}
    for file, several in lesions.items():
        meant = names.meant_by(file)
        if len(meant) == 1:
            marked.setdefault(meant[0], []).extend(several)
    if not marked:
        raise SettingsInvalid("evaluate", "--boxes", "no row has a scored image: do the file names agree?")
    images = [number for number, label in enumerate(rows.labels) if number in marked or not label.positive]
    matching = match(
        _boxes([rows.scores[number].boxes for number in images]), _boxes([marked.get(number, ()) for number in images])
    )
    patients = np.array([rows.labels[number].patient or f"\0{number}" for number in images])

    def at(rate: float) -> Interval | None:
        return interval(patients, lambda drawn: sensitivity_at(_drawn(matching, drawn, len(images)), len(drawn), rate), SEED, draws)

    return Froc(
        images=len(images),
        lesions=len(matching.lesions),
        at={rate: (sensitivity, at(rate)) for rate, sensitivity in froc(matching, len(images), RATES).items()},
        points=tuple(froc_points(matching, len(images))),
    )


def _boxes(several: Sequence[Sequence[Box]]) -> Boxes:
    flat = [(image, box) for image, boxes in enumerate(several) for box in boxes]
    edges = [(box.left, box.top, box.left + box.width, box.top + box.height) for _, box in flat]
    return Boxes(
        np.array([image for image, _ in flat], dtype=np.int64),
        np.array(edges, dtype=np.float64).reshape(-1, 4),
        np.array([box.probability for _, box in flat], dtype=np.float64),
    )


def _drawn(matching: Matching, drawn: NDArray[np.int64], images: int) -> Matching:
    """The same with each image as often as it was drawn."""
    times = np.bincount(drawn, minlength=images)
    of_lesions, of_false = times[matching.lesion_images], times[matching.false_images]
    return Matching(
        np.repeat(matching.lesions, of_lesions),
        np.repeat(matching.lesion_images, of_lesions),
        np.repeat(matching.false, of_false),
        np.repeat(matching.false_images, of_false),
    )
