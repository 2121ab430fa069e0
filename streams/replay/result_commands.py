"""`radstream replay diff` and `radstream replay publish`: what came of a replay."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.audit.who import LOOKED, By, Reason
from streams.printable import printable, printable_json
from streams.settings import read_settings
from streams.whole_file import write_whole

console = Console()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the replay.")]
Score = Annotated[
    float, typer.Option("--score-tolerance", min=0, help="Scores and probabilities that differ by less are the same.")
]
Pixels = Annotated[float, typer.Option("--place-tolerance", min=0, help="Pixels by which an edge of a finding may differ.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `radstream replay`."""
    app.command("diff")(diff)
    app.command("publish")(publish)


def diff(
    name: Name,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another replay.", show_default="what was said live of the same records")
    ] = None,
    html: Annotated[Path | None, typer.Option(dir_okay=False, metavar="FILE", help="Also one page with plots.")] = None,
    score_tolerance: Score = 0.001,
    place_tolerance: Pixels = 2.0,
    allow_not_comparable: Annotated[
        bool,
        typer.Option("--allow-not-comparable", help="Images that are gone or others, and records that are gone, do not fail it."),
    ] = False,
    by: By = None,
    reason: Reason = LOOKED,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Compare by meaning what a replay said with what was said then: findings that moved, appeared or vanished, other scores, other
    words, events that were decided otherwise. It names studies, which is patient data: it is audited who sees them.

    The exit code is 0 when nothing differs and 1 when anything does, or cannot be compared, or is gone, or the replay is not done:
    so a release can wait for it. Of each study and service the last state counts.

    [bold]radstream replay diff last-week --html last-week.html[/bold]
    """
    from streams.audit.acts import actor
    from streams.replay.changes import Tolerance
    from streams.replay.diff_page import NO_PLOTS, page
    from streams.replay.diff_text import plain, show
    from streams.replay.diffing import to_be_shown

    tolerance = Tolerance(score=score_tolerance, pixels=place_tolerance)
    who = actor("replay diff", by, reason)
    if html is not None and (html.is_symlink() or (html.exists() and not html.is_file())):
        raise typer.BadParameter(f"{html} is no ordinary file: it would not be readable by you alone")
    found = asyncio.run(to_be_shown(read_settings(), who, name, against, tolerance))
    if html is not None:
        text, with_plots = page(found)
        try:
            write_whole(html, text.encode("utf-8"))  # patient data: its owner's alone
        except OSError as error:
            raise typer.BadParameter(f"{html} cannot be written ({type(error).__name__})") from None
        if not with_plots:
            _beside(NO_PLOTS)
    if as_json:
        sys.stdout.write(printable_json(plain(found), indent=2) + "\n")
    else:
        show(found, console)
    if not found.is_clean(allow_not_comparable=allow_not_comparable):
        raise typer.Exit(1)


def publish(
    name: Name,
    approved_by: Annotated[str, typer.Option(metavar="WHO", help="Who answers for it; kept for ever.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="Kept for ever, so without patient data.")],
    study: Annotated[list[str] | None, typer.Option(metavar="UID", help="Study Instance UID; several times if need be.")] = None,
    all_changed: Annotated[bool, typer.Option("--all-changed", help="Every study that diff shows as changed.")] = False,
    score_tolerance: Score = 0.001,
    place_tolerance: Pixels = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Tell receivers what a replay said of these studies, in the place of what they were told: as a new state, through the ordinary
    delivery. Given again, it changes nothing.

    Refused is what is not about the same images, patient and order any more, what the study itself forbids (a cancelled order),
    what a recalled model said and what cannot be compared; the others are published, and the exit code is 1.

    [bold]radstream replay publish last-week --all-changed --approved-by "Dr A. Example" --reason "3 finds what 2 missed"[/bold]
    """
    from streams.replay.changes import Tolerance
    from streams.replay.publish import run_publish
    from streams.replay.publishing import Approval

    if all_changed is bool(study):
        raise typer.BadParameter("either --study UID, or --all-changed")
    chosen = None if all_changed else frozenset(study or ())
    tolerance = Tolerance(score=score_tolerance, pixels=place_tolerance)
    say = _beside if as_json else _say
    approval = Approval(approved_by, reason)
    if not asyncio.run(run_publish(read_settings(), name, chosen, approval, tolerance, say=say, as_json=as_json)):
        raise typer.Exit(1)


def _say(line: str) -> None:
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _beside(line: str) -> None:
    Console(stderr=True).print(printable(line), highlight=False, markup=False, soft_wrap=True)
