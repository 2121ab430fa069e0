"""`radstream replay`."""

from __future__ import annotations

import typer

replay_app = typer.Typer(no_args_is_help=True)
