"""`radstream model`: each command says what it needs and leaves the work to a file of its own, imported when it is run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.asked_moments import TIME_HELP
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
    from streams.scoring.score import run_score, with_options

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
    from streams.serving.process import run_serve

    asyncio.run(run_serve(read_settings(), packages or (), _say))


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
    from streams.observability import configure_logging
    from streams.scoring.evaluate import run_evaluate
    from streams.scoring.score import with_options

    if (scores is None) == (not files):
        raise typer.BadParameter("give either --scores CSV or files to score")
    configure_logging("evaluate")
    settings = with_options(read_settings(), model=model, threads=None, gate=True)
    named = frozenset(name.strip() for name in positive.split(",") if name.strip())
    whole = run_evaluate(
        settings,
        files or (),
        labels=labels,
        scores=scores,
        boxes=boxes,
        positive=named,
        threshold=threshold,
        out=out,
        draws=draws,
    )
    if not whole:
        raise typer.Exit(1)


@model_app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Which packages there are, which speak since when and by whose word, which run in the shadow, and which worker uses what.

    Cards and checksums are looked at (of packages in an object store: copies); radstream model verify also runs the self-test.
    """
    from streams.promotion.listing import run_list

    asyncio.run(run_list(read_settings(), console, as_json))


@model_app.command()
def verify(package: Annotated[str, typer.Argument(metavar="NAME/VERSION|FOLDER")]) -> None:
    """Whether a package may speak on this machine: card, checksum, self-test."""
    from streams.promotion.verifying import run_verify

    asyncio.run(run_verify(read_settings(), package, _say))


@model_app.command()
def promote(
    name: str,
    version: str,
    approved_by: Annotated[str, typer.Option(metavar="WHO", help="Who answers for it; kept for ever.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="Kept for ever.")],
    wait: Annotated[bool, typer.Option(help="Wait until every worker has taken it.")] = True,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait.")] = 30.0,
) -> None:
    """From now on this package speaks in the reports of its service, without a restart.

    It is loaded and tested here first. To roll back, promote the older version. Studies whose analysis is under way are answered
    by the model that began them; what was said stays said. The exit code is 1 when a worker could not take it.

    [bold]radstream model promote chest-nodule 2 --approved-by "Dr A. Example" --reason "fewer false boxes in the shadow"[/bold]
    """
    from streams.promotion.promoting import run_promote

    wait_s = timeout_s if wait else None
    if not asyncio.run(
        run_promote(read_settings(), name, version, approved_by=approved_by, reason=reason, wait_s=wait_s, say=_say)
    ):
        raise typer.Exit(1)


@model_app.command()
def recall(
    name: str,
    version: str,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="It speaks no more, and all that stands is withdrawn.")] = False,
    approved_by: Annotated[str | None, typer.Option(metavar="WHO", help="Who answers for it; kept for ever.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="WHY", help="Kept for ever.")] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the next withdrawal.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="The list, machine-readable.")] = False,
) -> None:
    """List all that this version of a model has said and that still stands; with --withdraw, take it all back.

    Every receiver is then told that it holds no longer, in its own idiom, and the version never speaks again: the model promoted
    before takes its place, else that of RADSTREAM_MODELS__USE, else none (analysis stops, studies are told as late). It cannot be
    undone: a mended model has another version. The studies are not analysed again. The exit code is 1 when a
    worker has not stopped, or not all was withdrawn.

    [bold]radstream model recall chest-nodule 2[/bold]
    [bold]radstream model recall chest-nodule 2 --withdraw --approved-by "Dr A. Example" --reason "misses what lies apical"[/bold]
    """
    from streams.promotion.recalling import Decision, run_recall

    if withdraw and not (approved_by and reason):
        raise typer.BadParameter("--withdraw needs --approved-by and --reason: somebody answers for it")
    if not withdraw and (approved_by or reason):
        raise typer.BadParameter("without --withdraw it only lists: neither --approved-by nor --reason is needed")
    decision = Decision(approved_by, reason) if approved_by and reason else None
    say = _say if not as_json else _say_beside
    if not asyncio.run(run_recall(read_settings(), name, version, decision, as_json=as_json, wait_s=timeout_s, say=say)):
        raise typer.Exit(1)


@model_app.command()
def shadow(
    name: str,
    version: str,
    sandbox: Annotated[str, typer.Option(metavar="CANDIDATE", help="Of a-z, 0-9 and hyphens: sandbox.CANDIDATE.* are its topics.")],
    approved_by: Annotated[str, typer.Option(metavar="WHO", help="Who answers for it; kept for ever.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="Kept for ever.")],
    end: Annotated[bool, typer.Option("--end", help="It sees no more; what it said stays.")] = False,
) -> None:
    """From now on this package sees what the model in use sees, at lower priority, and nobody sees what it says.

    It is loaded and tested here first. The role work shadow of the engine runs it; several candidates may run at a time, each in a
    sandbox of its own. [bold]radstream model compare[/bold] says how the two differ.
    """
    from streams.shadows.shadowing import Asked, run_shadow

    asyncio.run(run_shadow(read_settings(), Asked(f"{name}/{version}", sandbox, approved_by, reason), _say, end=end))


@model_app.command()
def compare(
    sandbox: Annotated[str, typer.Option(metavar="CANDIDATE", help="As of radstream model shadow.")],
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"Else since it saw its first study. {TIME_HELP}")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    studies: Annotated[bool, typer.Option("--studies", help="Name the studies that differ: patient data.")] = False,
) -> None:
    """How a candidate in the shadow differs from the model in use: agreement, findings, scores, outputs, latency."""
    from streams.shadows.compare import run_compare

    asyncio.run(run_compare(read_settings(), sandbox, _say, since=since, as_json=as_json, studies=studies))


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _say_beside(line: str) -> None:
    """Where standard output is for programs."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)
