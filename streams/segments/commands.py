"""`radstream topics archived`: what of the topics is kept beside the broker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from streams.settings import read_settings

console = Console()


def topics_archived(
    check: Annotated[bool, typer.Option("--check", help="Read every segment whole: is any byte not as it was written?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """What the archive of the log holds, and the gaps in it: records that retention removed before they were archived.

    [bold]radstream topics archived[/bold]          nothing is read but names
    [bold]radstream topics archived --check[/bold]  every file; exit code 1 when one is broken
    """
    from streams.segments.listing import run_list

    if not asyncio.run(run_list(read_settings(), console, check=check, as_json=as_json)):
        raise typer.Exit(1)
