"""`radstream model evaluate` on a terminal: figures as a table, as JSON, as pictures."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.evaluation.films import Figure, FilmFigures
from schemas.errors import SettingsInvalid
from schemas.findings import DEMONSTRATION
from streams.printable import cell
from streams.scoring.evaluating import SEED, Evaluation, Froc, evaluation, joined
from streams.scoring.labels import read_boxes, read_labels, read_scores
from streams.scoring.score import run_score
from streams.settings import Settings

TEXT_MINED = "Labels may be text-mined from reports (those of NIH ChestX-ray14 are): some are wrong, and the figures with them."
NO_PLOTS = "no plots: they need matplotlib, which `pip install 'radstream[evaluation]'` brings"
#: of a table that goes to a file
_WIDTH = 150


def run_evaluate(
    settings: Settings,
    files: Sequence[Path],
    *,
    labels: Path,
    scores: Path | None,
    boxes: Path | None,
    positive: frozenset[str],
    threshold: float | None,
    out: Path,
    draws: int,
) -> bool:
    """Figures on standard output, `evaluation.json` and the plots into `out`; without `scores` the files are scored first, into
    `scores.csv` there. False: see `run_score`; then nothing is evaluated. Raises SettingsInvalid, and as `run_score`."""
    labelled = read_labels(labels, positive)  # before hours of scoring
    lesions = None if boxes is None else read_boxes(boxes)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid("evaluate", "--out", f"cannot be made ({type(error).__name__})") from None
    if scores is None:
        scores = out / "scores.csv"
        if not asyncio.run(run_score(settings, files, scores, inverted=False, ignore_headers=False)):
            return False
    rows = joined(labelled, read_scores(scores))
    at = asyncio.run(_threshold(settings, rows.scores[0].model)) if threshold is None else threshold
    with Console(stderr=True).status("drawing patients again and again"):
        found = evaluation(rows, at, lesions, draws)
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    _show(found, console)
    try:
        (out / "evaluation.json").write_text(json.dumps(as_json(found, positive, draws), indent=2) + "\n", encoding="utf-8")
        console.print(", ".join(str(path) for path in [out / "evaluation.json", *_plots(found, out)]), markup=False)
    except OSError as error:
        raise SettingsInvalid("evaluate", "--out", f"cannot be written ({type(error).__name__})") from None
    return True


async def _threshold(settings: Settings, model: str) -> float:
    """Of the model's card."""
    from models.card import read_card
    from streams.wiring.models import package_store_for

    heatmap = read_card(await package_store_for(settings).folder(model)).heatmap
    if heatmap is None:
        raise SettingsInvalid("evaluate", model, "its card has no threshold: give --threshold")
    return heatmap.threshold


def as_json(found: Evaluation, positive: frozenset[str], draws: int) -> dict[str, Any]:
    """All figures, without a file's name."""
    return {
        "statement": [DEMONSTRATION, TEXT_MINED],
        "model": found.model,
        "threshold": found.threshold,
        "positive": sorted(positive),
        "interval": f"95 %, bootstrap over {'patients' if found.patients_known else 'images'}, {draws} draws, seed {SEED}",
        "left_out": dict(found.joined.left_out),
        "not_suitable": dict(found.joined.not_suitable),
        "against": {name: asdict(figures) for name, figures in found.figures.items()},
        "by": {column: {name: asdict(one) for name, one in several.items()} for column, several in found.groups.items()},
        "reliability": [asdict(one) for one in found.reliability],
        "froc": None if found.froc is None else _froc_json(found.froc),
    }


def _froc_json(found: Froc) -> dict[str, Any]:
    at = [
        {"false_positives_per_image": rate, "sensitivity": sensitivity, "interval": interval}
        for rate, (sensitivity, interval) in found.at.items()
    ]
    return {"images": found.images, "lesions": found.lesions, "at": at}


def _show(found: Evaluation, console: Console) -> None:
    table = Table(title=cell(f"{found.model} at the threshold {found.threshold:g}"))
    for heading in ("images", "number", "positive", "patients", "AUROC", "sensitivity", "specificity", "ECE"):
        table.add_column(heading, justify="left" if heading == "images" else "right", overflow="fold")
    for name, figures in found.figures.items():
        table.add_row(cell(f"against {name}"), *_cells(figures), end_section=True)
    for column, several in found.groups.items():
        for name, figures in several.items():
            table.add_row(cell(f"{column} {name}"), *_cells(figures))
    console.print(table)
    if found.froc is not None:
        console.print(_froc_table(found.froc))
    for line in _lines(found):
        console.print(line, markup=False)


def _froc_table(found: Froc) -> Table:
    table = Table(title=f"share of {found.lesions} marked lesions found, on {found.images} images")
    table.add_column("false positives per image", justify="right")
    table.add_column("found", justify="right")
    for rate, (sensitivity, interval) in found.at.items():
        table.add_row(f"{rate:g}", _cell(Figure(sensitivity, interval)))
    return table


def _cells(figures: FilmFigures) -> tuple[str, ...]:
    counts = (str(figures.films), str(figures.positives), str(figures.patients))
    several = (figures.area_under_curve, figures.sensitivity, figures.specificity, figures.calibration_error)
    return *counts, *map(_cell, several)


def _cell(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    return f"{figure.value:.3f}" + (f" ({figure.interval[0]:.3f}-{figure.interval[1]:.3f})" if figure.interval else "")


def _lines(found: Evaluation) -> Iterator[str]:
    yield f"in brackets: 95 % intervals, by drawing {'patients' if found.patients_known else 'images: no patients are told'}"
    if found.froc is not None:
        yield "a score's boxes are those drawn at the threshold: beyond the false ones among them the share found stays the same"
    yield from _counted("left out", found.joined.left_out)
    yield from _counted("left out as not suitable", found.joined.not_suitable)
    yield DEMONSTRATION
    yield TEXT_MINED


def _counted(what: str, several: Mapping[str, int]) -> Iterator[str]:
    if several:
        yield f"{what}: {sum(several.values())}"
        yield from (f"  {number} x {reason}" for reason, number in sorted(several.items(), key=lambda one: -one[1]))


def _plots(found: Evaluation, out: Path) -> Sequence[Path]:
    try:
        plots = importlib.import_module("models.evaluation.plots")
    except ImportError:
        sys.stderr.write(NO_PLOTS + "\n")
        return ()
    note = f"{found.model}. {DEMONSTRATION}\n{TEXT_MINED}"
    files = [out / "roc.png", out / "calibration.png"]
    plots.plot_roc(files[0], found.roc, found.threshold, note)
    plots.plot_calibration(files[1], {"all images": found.reliability}, note)
    if found.froc is not None and found.froc.points:
        files.append(out / "froc.png")
        plots.plot_froc(files[2], {"all boxes": found.froc.points}, note)
    return files
