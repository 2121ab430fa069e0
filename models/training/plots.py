"""The figures of a package as pictures, drawn by `models.evaluation.plots`."""

from pathlib import Path

from models.evaluation.calibration import reliability
from models.evaluation.froc import froc_points
from models.evaluation.plots import plot_calibration, plot_froc, plot_roc
from models.evaluation.roc import roc_points
from models.training.figures import films_of
from models.training.located import Located
from models.training.readings import Readings, Rule
from schemas.findings import DEMONSTRATION


def draw(readings: Readings, rule: Rule, model: str, folder: Path) -> None:
    """roc.png, calibration.png and froc.png; `model`: NAME/VERSION."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"as taken": films_of(readings.real, rule), "squeezed, as published": films_of(readings.squeezed, rule)}
    against = {f"{name}, against all others": films for name, (films, _) in shapes.items()}
    against |= {f"{name}, against No Finding": films[clear] for name, (films, clear) in shapes.items()}
    note = f"{model}. {DEMONSTRATION}\nNodule or Mass by text-mined labels, some of which are wrong."
    curves = {name: roc_points(films.probabilities, films.labels) for name, films in against.items()}
    plot_roc(folder / "roc.png", curves, rule.point.threshold, note)
    bins = {name: reliability(films.probabilities, films.labels) for name, (films, _) in shapes.items()}
    plot_calibration(folder / "calibration.png", bins, note)
    located = {name: Located.of(several, rule) for name, several in readings.inserted.items()}
    note = f"{model}. {DEMONSTRATION}\nInserted CT nodules, by their contrast in shares of the film's grey range."
    plot_froc(folder / "froc.png", {name: froc_points(each.matching, len(each)) for name, each in located.items()}, note)
