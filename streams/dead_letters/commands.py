"""`radstream dead-letters`."""

from __future__ import annotations

import typer

dead_letters_app = typer.Typer(no_args_is_help=True)
