"""`radstream audit`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.settings import read_settings

audit_app = typer.Typer(no_args_is_help=True)
console = Console()


@audit_app.callback()
def audit() -> None:
    """Who did what, and proof that the log is as it was."""


@audit_app.command()
def verify(
    public_key: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Whose signatures are believed; more than once when the notary's key was changed.",
            show_default="beside the notary's key",
        ),
    ] = None,
    checkpoint_file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A copy of the notary's file, perhaps an older one.",
            show_default="the notary's own",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Compute every chain of hashes anew and compare it with what the notary signed: finds records that were changed, removed,
    reordered or put in before the last checkpoint, and says where. Exit code 1 when anything does not fit.

    [bold]radstream audit verify --public-key /safe/notary.pub --checkpoint-file /safe/checkpoints.jsonl[/bold]
    """
    from streams.audit.verify_command import run_verify

    if not asyncio.run(run_verify(read_settings(), public_key or [], checkpoint_file or [], console, as_json=as_json)):
        raise typer.Exit(1)
