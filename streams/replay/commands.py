"""`radstream replay`: what is selected, the dry run, and the hand-over to the run. Its subcommands stand in files of their own and
register here, each by one line at the end."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from streams.asked_moments import TIME_HELP
from streams.replay import result_commands, run_commands
from streams.settings import read_settings

if TYPE_CHECKING:
    from streams.replay.manifest import Through
    from streams.replay.plan import Plan
    from streams.replay.saved import Query
    from streams.settings import Settings

replay_app = typer.Typer()

console = Console()
_Texts = list[str] | None


@replay_app.callback(invoke_without_command=True)
def replay(
    context: typer.Context,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=TIME_HELP)] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="The first moment that is no longer meant.", show_default="now")
    ] = None,
    place: Annotated[
        _Texts, typer.Option(metavar="TOPIC/PARTITION/FIRST-END", help="END is the first offset that is no longer meant.")
    ] = None,
    accession: Annotated[_Texts, typer.Option(metavar="NUMBER", help="Whole cases; NUMBER^ASSIGNER if others have it.")] = None,
    patient: Annotated[
        _Texts, typer.Option(metavar="IDENTIFIER", help="All cases of the patient, by any number they were ever merged with.")
    ] = None,
    sender: Annotated[_Texts, typer.Option(metavar="MSH-3|MSH-4", help="Messages of this sender, nothing beside.")] = None,
    type: Annotated[_Texts, typer.Option(metavar="MSH-9", help="Messages of this type, such as ORM^O01 or ADT.")] = None,
    model: Annotated[_Texts, typer.Option(metavar="NAME/VERSION", help="Cases of which this model spoke.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="STEP",
            help="normalise, correlate or analyse: what came before it is taken as it was.",
            show_default="analyse for a time, else normalise",
        ),
    ] = None,
    saved: Annotated[str | None, typer.Option(metavar="QUERY", help="As it was saved; what is given beside it counts.")] = None,
    save: Annotated[str | None, typer.Option(metavar="QUERY", help="Keep what is selected under this name.")] = None,
    run: Annotated[bool, typer.Option("--run/--dry-run", help="Do it, or only say what would be read.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="sandbox.NAME.* are its topics.", show_default="the time of now")
    ] = None,
    with_models: Annotated[
        _Texts, typer.Option("--with", metavar="NAME/VERSION", help="This model speaks in it.", show_default="those in use")
    ] = None,
    through: Annotated[str, typer.Option(metavar="STEP", help="The last step: normalise, correlate or report.")] = "report",
    rate: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Inputs in a second at most; 0: no limit.", show_default="200")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="WHO", help="Kept for ever.", show_default="your login name")] = None,
    reason: Annotated[str | None, typer.Option(metavar="WHY", help="With --run; kept for ever.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The dry run, machine-readable.")] = False,
) -> None:
    """What would happen now with what came then, without any effect outside: first look what would be read, then run it.

    An option that may be given several times widens, another one narrows. Saved queries may name patients: their files are
    readable by you alone.

    [bold]radstream replay --accession A4711[/bold]
    [bold]radstream replay --since 7d --with chest-nodule/2 --name last-week --reason "before going live" --run[/bold]
    [bold]radstream replay --sender 'RIS|H' --type ORM^O01 --since 2026-11-23 --save ris-orders[/bold]
    """
    from streams.replay.saved import Query

    given = {
        "since": since,
        "until": until,
        "places": place,
        "accession_numbers": accession,
        "patients": patient,
        "senders": sender,
        "message_types": type,
        "models": model,
        "start_at": _one_of(start, ("normalise", "correlate", "analyse"), "--start"),
    }
    asked = Query.model_validate({key: value for key, value in given.items() if value})
    _one_of(through, ("normalise", "correlate", "report"), "--through")
    nothing = asked == Query() and saved is None
    if context.invoked_subcommand is not None:
        if not nothing or run or save:
            advice = f"radstream replay {context.invoked_subcommand} --help"
            raise typer.BadParameter(f"what is selected goes with no subcommand: {advice}")
        return
    if nothing and not (run or save):
        sys.stdout.write(context.get_help() + "\n")
        return
    if run and not (reason or "").strip():
        raise typer.BadParameter("--run needs --reason: it is kept for ever who replayed what, and why")
    if run and as_json:
        raise typer.BadParameter("--json is of the dry run: radstream replay list --json tells what became of a run")
    wanted = _Wanted(name, tuple(with_models or ()), through, rate, by, (reason or "").strip())
    if not _replay(read_settings(), asked, saved, save, wanted, run=run, as_json=as_json):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Of the run."""

    name: str | None
    models: tuple[str, ...]
    through: str
    rate: float | None
    by: str | None
    reason: str

    def options(self) -> list[str]:
        """What was given, as on the command line."""
        told = {"--name": self.name, "--by": self.by, "--rate": None if self.rate is None else f"{self.rate:g}"}
        told["--through"] = None if self.through == "report" else self.through
        told["--reason"] = self.reason or "WHY"
        models = [word for model in self.models for word in ("--with", model)]
        return [*models, *(word for option, value in told.items() if value is not None for word in (option, value)), "--run"]


def _replay(
    settings: Settings, asked: Query, saved: str | None, save: str | None, wanted: _Wanted, *, run: bool, as_json: bool
) -> bool:
    """Whether there is anything to be read."""
    from streams.clock import SystemClock
    from streams.replay import saved as queries
    from streams.replay.dry_run import plan_of, reading, show
    from streams.replay.manifest import ReplayFolder
    from streams.replay.replaying import RATE

    now = SystemClock().now()
    name = wanted.name or f"{now:%Y%m%d-%H%M%S}"
    ReplayFolder(settings, name)  # whether it is a name
    query = asked if saved is None else queries.load(settings, saved).overruled_by(asked)
    selection = query.selection(settings.site.time_zone, now)
    if (selection.start, wanted.through) in _ENDS_BEFORE:
        raise typer.BadParameter(f"a replay that starts at {selection.start} cannot end with {wanted.through}")
    if save is not None:
        file = queries.save(settings, save, query)
        _say_beside(f"saved in {file}, which you alone can read: it may name patients. radstream replay --saved {save}")
    with reading() as seen:
        plan = asyncio.run(plan_of(settings, selection, seen))
    rate = (RATE if wanted.rate is None else wanted.rate) or None
    if run and plan.records:
        _run(settings, name, plan, wanted, rate)
    elif run:
        _say_beside("nothing on the log is of what is selected: there is nothing to replay")
    else:
        options = [*(["--saved", saved] if saved is not None else []), *asked.options()]
        command = ["radstream", "replay", *options, *wanted.options()]
        show(plan, command, console, rate=rate, analyses=wanted.through == "report", as_json=as_json)
    return bool(plan.records)


def _run(settings: Settings, name: str, plan: Plan, wanted: _Wanted, rate: float | None) -> None:
    from streams.audit.acts import login_name
    from streams.replay.replaying import Who, create
    from streams.wiring.clients import ensure_all_topics

    ensure_all_topics(settings)
    who = Who(wanted.by or login_name(), wanted.reason)
    folder = create(settings, name, plan, who, models=wanted.models, through=cast("Through", wanted.through))
    run_commands.run_here(settings, folder, rate=rate or 0)


_ENDS_BEFORE = {("correlate", "normalise"), ("analyse", "normalise"), ("analyse", "correlate")}


def _one_of(value: str | None, values: tuple[str, ...], option: str) -> str | None:
    if value is not None and value not in values:
        raise typer.BadParameter(f"{option} is {', '.join(values[:-1])} or {values[-1]}")
    return value


def _say_beside(line: str) -> None:
    """Where standard output is for programs."""
    Console(stderr=True).print(line, highlight=False, markup=False, soft_wrap=True)


run_commands.register(replay_app)
result_commands.register(replay_app)
