"""`radstream model`: each command says what it needs and leaves the work to a file of its own, imported when it is run."""

from __future__ import annotations

import typer
from rich.console import Console

model_app = typer.Typer(no_args_is_help=True)
console = Console()
