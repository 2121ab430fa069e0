"""The figures of a package as pictures, drawn by `models.evaluation.plots`."""

from pathlib import Path

import numpy as np

from models.evaluation.calibration import reliability
from models.evaluation.froc import froc_points
from models.evaluation.plots import plot_calibration, plot_froc, plot_roc
from models.evaluation.roc import Labels, Scores, roc_points
from models.training.films import DISEASED, NORMAL
from models.training.located import Located
from models.training.readings import FilmReading, Readings, Rule
from schemas.findings import DEMONSTRATION

TAKEN, PUBLISHED = "as taken", "squeezed, as published"


def draw(readings: Readings, rule: Rule, model: str, folder: Path) -> None:
    """roc.png, calibration.png and froc.png; `model`: NAME/VERSION."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {TAKEN: readings.real, PUBLISHED: readings.squeezed}
    against = {f"{name}, against all others": several for name, several in shapes.items()}
    against |= {f"{name}, against No Finding": [r for r in several if _clear(r)] for name, several in shapes.items()}
    note = f"{model}. {DEMONSTRATION}\nNodule or Mass by text-mined labels, some of which are wrong."
    curves = {name: roc_points(*_said(several, rule)) for name, several in against.items()}
    plot_roc(folder / "roc.png", curves, rule.point.threshold, note)
    plot_calibration(folder / "calibration.png", {name: reliability(*_said(r, rule)) for name, r in shapes.items()}, note)
    located = {name: Located.of(several, rule) for name, several in readings.inserted.items()}
    note = f"{model}. {DEMONSTRATION}\nInserted CT nodules, by their contrast in shares of the film's grey range."
    plot_froc(folder / "froc.png", {name: froc_points(each.matching, len(each)) for name, each in located.items()}, note)


def _clear(reading: FilmReading) -> bool:
    return reading.record.labels == NORMAL or bool(reading.record.labels & DISEASED)


def _said(several: list[FilmReading], rule: Rule) -> tuple[Scores, Labels]:
    return (
        np.array([rule.probability(r.answer) for r in several]),
        np.array([bool(r.record.labels & DISEASED) for r in several]),
    )
