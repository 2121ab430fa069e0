"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(what: str, total: int, say: Callable[[str], None] | None = None) -> Iterator[Callable[[int], None]]:
    """Gives what is told how much is done so far. `say`: a line at every tenth where there is no terminal (None: none)."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as shown:
            task = shown.add_task("", total=total)
            yield lambda done: shown.update(task, completed=done)
        return
    tenths = 0

    def tell(done: int) -> None:
        nonlocal tenths
        if say is not None and total and done * 10 // total > tenths:
            tenths = done * 10 // total
            say(f"{what}: {done} of {total}")

    yield tell


def on_stderr(line: str) -> None:
    """For `say`."""
    sys.stderr.write(f"{line}\n")
