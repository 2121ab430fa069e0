"""`radstream discrepancy`: the AI says that something is there, of a study that a radiologist had verified before."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from streams.audit.who import LOOKED, By, Reason
from streams.settings import read_settings

discrepancy_app = typer.Typer(no_args_is_help=True)
console = Console()


@discrepancy_app.command("list")
def list_discrepancies(
    all_states: Annotated[bool, typer.Option("--all", help="Those too that were acknowledged or withdrawn.")] = False,
    by: By = None,
    reason: Reason = LOOKED,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Those that wait for a person, oldest first: the AI's answer came after the report was verified, and says that something is
    there. It names studies, which is patient data: it is audited who sees them.
    """
    from streams.acknowledging import run_list

    asyncio.run(run_list(read_settings(), console, all_states=all_states, as_json=as_json, by=by, reason=reason))


@discrepancy_app.command()
def acknowledge(
    id: Annotated[str, typer.Argument(metavar="ID", help="As list shows it; its first characters will do.")],
    by: Annotated[str, typer.Option(metavar="WHO", help="Who has looked at it; kept for ever.")],
    reason: Annotated[str, typer.Option(metavar="WHY", help="What came of it; kept for ever, so without patient data.")],
) -> None:
    """Say that a person has looked at it: then it is not escalated. The report itself is amended where it was written.

    [bold]radstream discrepancy acknowledge 5f2c1a --by "Dr A. Example" --reason "seen, addendum written"[/bold]
    """
    from streams.acknowledging import run_acknowledge

    if not asyncio.run(run_acknowledge(read_settings(), id, by=by, reason=reason, say=console)):
        raise typer.Exit(1)
