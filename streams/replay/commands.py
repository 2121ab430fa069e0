"""`radstream replay`: what is selected, and the dry run. Its subcommands stand in files of their own and register here, each by one
line at the end: `run_commands` (run, resume, pause, list) and `result_commands` (diff, publish) have a function
`register(app: typer.Typer) -> None` that adds theirs."""

from __future__ import annotations

import typer

replay_app = typer.Typer(no_args_is_help=True)

# run_commands.register(replay_app)
# result_commands.register(replay_app)
