"""`radstream replay resume|pause|list|remove`, and what `radstream replay --run` hands over to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from streams.printable import cell
from streams.settings import read_settings

if TYPE_CHECKING:
    from streams.replay.manifest import Manifest, ReplayFolder
    from streams.settings import Settings

console = Console()
#: of a process that gives way to everything else
_NICE = 10

Name = Annotated[str, typer.Argument(metavar="NAME", help="As list shows it.")]
Rate = Annotated[
    float, typer.Option(min=0, metavar="N", help="Inputs in a second at most; 0: as fast as it can, at the cost of live traffic.")
]


def register(app: typer.Typer) -> None:
    """Adds the commands to `radstream replay`."""
    app.command("resume")(resume)
    app.command("pause")(pause)
    app.command("list")(list_replays)
    app.command("remove")(remove)


def resume(
    name: Name,
    rate: Annotated[float | None, typer.Option(min=0, metavar="N", help="As of --run.")] = None,
    by: Annotated[str | None, typer.Option(metavar="WHO", help="Who goes on with it.", show_default="your login name")] = None,
) -> None:
    """Go on with a replay that was paused, failed or killed: its result is the one that it would have had.

    [bold]radstream replay resume last-week[/bold]
    """
    from streams.audit.acts import login_name
    from streams.replay.manifest import ReplayFolder
    from streams.replay.replaying import RATE

    settings = read_settings()
    run_here(settings, ReplayFolder(settings, name), rate=RATE if rate is None else rate, by=by or login_name())


def pause(name: Name) -> None:
    """Ask a replay that runs in another process to stop where it is; resume goes on with it.

    [bold]radstream replay pause last-week[/bold]
    """
    from streams.replay.manifest import ReplayFolder

    folder = ReplayFolder(read_settings(), name)
    folder.read()
    if not folder.is_held:
        console.print(f"{name} does not run.")
        return
    folder.ask_pause()
    console.print(f"{name} will pause: radstream replay resume {name} goes on with it.")


def remove(
    name: Name,
    reason: Annotated[str, typer.Option(metavar="WHY", help="Kept for ever, so without patient data.")],
    by: Annotated[str | None, typer.Option(metavar="WHO", help="Who removes it.", show_default="your login name")] = None,
) -> None:
    """Delete a replay for ever: the topics of its sandbox and its folder, which hold patient data. It cannot be compared or
    published any more; what was published of it stays, and its name stays used. Of one that has not begun: its folder alone.

    [bold]radstream replay remove last-week --reason "the release was decided"[/bold]
    """
    from streams.audit.acts import login_name
    from streams.replay.manifest import ReplayFolder
    from streams.replay.removing import remove as remove_replay
    from streams.replay.replaying import Who

    settings = read_settings()
    deleted = asyncio.run(remove_replay(settings, ReplayFolder(settings, name), Who(by or login_name(), reason)))
    console.print(f"{name} is removed: its folder, and {len(deleted)} topics of its sandbox.")


def list_replays(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """All replays of this engine: what became of each, and how far it is. It names no patient."""
    from streams.replay.manifest import all_replays

    rows = [_row(folder) for folder in all_replays(read_settings())]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table("name", "state", "records", "models", "by", "why", "planned at")
    for row in rows:
        state = f"{row['state']}: {row['failure']}" if row["failure"] else row["state"]
        done = f"{row['records']} of {row['planned']}"
        cells = row["name"], state, done, ", ".join(row["models"]), row["by"], row["reason"], row["planned_at"]
        table.add_row(*map(cell, cells))
    console.print(table if rows else "there is no replay: radstream replay --help")


def run_here(settings: Settings, folder: ReplayFolder, *, rate: float, by: str | None = None) -> None:
    """Until it is done or paused (Ctrl-C, TERM, `radstream replay pause`), with its progress on stderr. Raises as
    `streams.replay.replaying.run`."""
    import structlog

    from streams.observability import configure_logging

    configure_logging("replay")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))  # WARNING: ten thousand messages are not told
    os.umask(0o077)
    os.nice(_NICE)
    manifest = asyncio.run(_run(settings, folder, rate, by))
    if manifest.state == "done":
        letters = manifest.written.get("radstream.dead-letters", 0)
        console.print(f"{manifest.name} is done: {manifest.records} records read, {letters} dead letters in its sandbox.")
    elif manifest.state == "planned":
        console.print(f"{manifest.name} has not begun: radstream replay resume {manifest.name} begins it.")
        raise typer.Exit(1)
    else:
        done = f"{manifest.records} of {manifest.plan.records} records"
        console.print(f"{manifest.name} is paused after {done}: radstream replay resume {manifest.name} goes on with it.")
        raise typer.Exit(1)  # whoever waits for a result has none yet


async def _run(settings: Settings, folder: ReplayFolder, rate: float, by: str | None) -> Manifest:
    from streams.progress import progress
    from streams.replay.replaying import run

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def asked() -> None:
        if not stop.is_set():
            say(f"{folder.name} is asked to stop: it keeps what is done")
        stop.set()

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    total = folder.read().plan.records
    with progress(f"replay {folder.name}", total, say) as tell:
        return await run(settings, folder, rate=rate or None, stop=stop, tell=tell, by=by)


def _row(folder: ReplayFolder) -> dict[str, Any]:
    from schemas.errors import SettingsInvalid

    try:
        manifest = folder.read()
    except SettingsInvalid:  # what one version wrote must not hide all others
        said = {"name": folder.name, "by": "", "reason": "", "records": 0, "written": {}, "failure": "", "planned_at": ""}
        return {**said, "state": _removal(folder) or "of another version", "planned": 0, "models": []}
    told = manifest.model_dump(mode="json", include={"name", "by", "reason", "records", "written", "failure", "planned_at"})
    killed = manifest.state == "running" and not folder.is_held
    models = sorted(pinned.reference for pinned in manifest.models.values())
    state = "killed" if killed else manifest.state
    return {**told, "state": _removal(folder) or state, "planned": manifest.plan.records, "models": models}


def _removal(folder: ReplayFolder) -> str:
    if not folder.removal_has_begun:
        return ""
    return "being removed" if folder.is_held else "half removed"
