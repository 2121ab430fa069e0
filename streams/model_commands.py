"""`radstream model`: each command says what it needs and leaves the work to a file of its own, imported when it is run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.settings import read_settings

model_app = typer.Typer(no_args_is_help=True)
console = Console()


@model_app.command()
def score(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|FOLDER...", help="DICOM, PNG or JPEG; folders at any depth.")],
    csv: Annotated[Path, typer.Option("--csv", metavar="OUT", help="Where the table goes; - is standard output.")],
    model: Annotated[str | None, typer.Option(metavar="NAME/VERSION", help="Else the first of RADSTREAM_MODELS__USE.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the model; else RADSTREAM_MODELS__THREADS.")] = None,
    gate: Annotated[bool, typer.Option("--gate/--no-gate", help="Whether the pixels must show a frontal chest radiograph.")] = True,
    inverted: Annotated[bool, typer.Option("--inverted", help="In PNG and JPEG dark is dense; else bright is.")] = False,
    ignore_headers: Annotated[
        bool, typer.Option("--ignore-headers", help="Score what DICOM headers exclude, too; the reason column says so.")
    ] = False,
) -> None:
    """Ask a model about files: one row each, also for those that it cannot see.

    PNG and JPEG have no headers: each is taken for what the model is for (a chest radiograph of an adult), but its pixels are
    looked at. See docs/scoring.md.
    """
    from streams.observability import configure_logging
    from streams.score import run_score, with_options

    configure_logging("score")
    settings = with_options(read_settings(), model=model, threads=threads, gate=gate)
    if not asyncio.run(run_score(settings, files, csv, inverted=inverted, ignore_headers=ignore_headers)):
        raise typer.Exit(1)


@model_app.command()
def serve(
    packages: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME/VERSION", help="Of any number.", show_default="those of RADSTREAM_MODELS__USE"),
    ] = None,
) -> None:
    """Answer whoever asks over the Open Inference Protocol v2 (KServe, Triton): NAME finds things in a radiograph, NAME.network is
    its bare network. Ctrl-C stops it.

    An image is sent in the request, or is named: in the archive by its DICOMweb URL, in the object store by its key.
    Where it listens, and who may ask: RADSTREAM_SERVING in docs/settings.md.
    """
    from streams.serve import run_serve

    asyncio.run(run_serve(read_settings(), packages or (), lambda line: console.print(line, highlight=False, soft_wrap=True)))


@model_app.command()
def evaluate(
    labels: Annotated[
        Path, typer.Option(metavar="CSV", help="Columns file, and label (0, 1) or labels (Nodule|Mass); see the docs.")
    ],
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE|FOLDER...]", help="Scored first, as score does.")] = None,
    scores: Annotated[Path | None, typer.Option(metavar="CSV", help="What score wrote, instead of files.")] = None,
    boxes: Annotated[Path | None, typer.Option(metavar="CSV", help="Lesions: file, left, top, width, height in pixels.")] = None,
    positive: Annotated[str, typer.Option(metavar="A,B", help="Which of the column labels count.")] = "Nodule,Mass",
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Else the model's own.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where JSON, plots and scores go.")] = Path("var/evaluation"),
    model: Annotated[str | None, typer.Option(metavar="NAME/VERSION", help="As of score.")] = None,
    draws: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 1000,
) -> None:
    """How good a model is on your own images: AUROC, sensitivity, specificity, calibration, by view, sex and age.

    The labels' file names are compared with those of the scores. See docs/scoring.md.
    """
    from streams.evaluate import run_evaluate
    from streams.observability import configure_logging
    from streams.score import run_score, with_options

    if (scores is None) == (not files):
        raise typer.BadParameter("give either --scores CSV or files to score")
    configure_logging("evaluate")
    settings = with_options(read_settings(), model=model, threads=None, gate=True)
    if scores is None:
        out.mkdir(parents=True, exist_ok=True)
        scores = out / "scores.csv"
        if not asyncio.run(run_score(settings, files or [], scores, inverted=False, ignore_headers=False)):
            raise typer.Exit(1)
    named = frozenset(name.strip() for name in positive.split(",") if name.strip())
    run_evaluate(settings, labels=labels, scores=scores, boxes=boxes, positive=named, threshold=threshold, out=out, draws=draws)
