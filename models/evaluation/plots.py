"""Pictures of the figures: ROC, FROC, calibration. Needs matplotlib (the extra `evaluation`), which is imported here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.evaluation.calibration import Bin
from models.evaluation.froc import RATES, FrocPoint
from models.evaluation.roc import RocPoint

_SIDE_INCHES, _DOTS_PER_INCH = 5.0, 150


def plot_roc(file: Path, curves: Mapping[str, Sequence[RocPoint]], threshold: float, note: str) -> None:
    """One curve a comparison, named by its key; a dot where the threshold lies."""
    figure, axes = _drawing("ROC", "false positive rate", "sensitivity")
    for name, points in curves.items():
        (line,) = axes.plot([p.false_positive_rate for p in points], [p.sensitivity for p in points], label=name)
        at = [point for point in points if point.threshold >= threshold][-1]
        axes.plot([at.false_positive_rate], [at.sensitivity], "o", color=line.get_color())
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axes.legend(loc="lower right")
    _finish(figure, file, note)


def plot_froc(file: Path, curves: Mapping[str, Sequence[FrocPoint]], note: str) -> None:
    """One curve a key, up to 8 false positives an image; dotted beyond those that the boxes have."""
    figure, axes = _drawing("FROC", "false positives per image", "share of lesions found")
    for n, (name, points) in enumerate(curves.items()):
        last, colour = points[-1], f"C{n}"
        rates, shares = [p.false_positives_per_image for p in points], [p.sensitivity for p in points]
        axes.step([0.0, *rates], [0.0, *shares], colour, where="post", label=name)
        axes.plot([last.false_positives_per_image, max(RATES)], [last.sensitivity] * 2, f"{colour}:")
    axes.legend(loc="lower right")
    axes.set_xscale("symlog", linthresh=RATES[0], linscale=0.5)
    axes.set_xticks([0.0, *RATES], ["0", *(f"{rate:g}" for rate in RATES)])
    axes.set_xlim(0, RATES[-1])
    _finish(figure, file, note)


def plot_calibration(file: Path, several: Mapping[str, Sequence[Bin]], note: str) -> None:
    """The size of a dot is the share of the images in its bin."""
    figure, axes = _drawing("Calibration", "probability said", "share positive")
    for name, bins in several.items():
        most = max(b.images for b in bins)
        sizes = [20 + 180 * b.images / most for b in bins]
        axes.scatter([b.said for b in bins], [b.true for b in bins], s=sizes, label=name, alpha=0.7)
    axes.legend(loc="upper left")
    axes.plot([0, 1], [0, 1], ":", color="grey", linewidth=1)
    axes.set_xlim(0, 1)
    _finish(figure, file, note)


def _drawing(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_SIDE_INCHES, _SIDE_INCHES), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
    axes.set_ylim(0, 1)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _finish(figure: Figure, file: Path, note: str) -> None:
    figure.supxlabel(note, fontsize=7, wrap=True)
    figure.savefig(file, dpi=_DOTS_PER_INCH)
