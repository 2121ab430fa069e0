"""`radstream dead-letters`: what no step could finish, looked at, sent again, discarded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.asked_moments import TIME_HELP
from streams.printable import printable
from streams.settings import read_settings

dead_letters_app = typer.Typer(no_args_is_help=True)
console = Console()

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="As list shows it, its first characters, or its place.")]
Step = Annotated[str | None, typer.Option(metavar="STEP", help='e.g. normalise, deliver.fhir; "deliver" is every destination.')]
Error = Annotated[str | None, typer.Option(metavar="CLASS", help="e.g. MalformedMessage.")]
Topic = Annotated[str | None, typer.Option(metavar="TOPIC", help="What its record was written to, e.g. hl7.v2.raw.")]
Sender = Annotated[str | None, typer.Option(metavar="MSH-3|MSH-4", help="Of an HL7 message.")]
Key = Annotated[str | None, typer.Option(metavar="KEY", help="Of its record, e.g. a Study Instance UID.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"Written then or later: {TIME_HELP}")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Written before then.")]
AllOpen = Annotated[bool, typer.Option("--all-open", help="Every open letter.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
By = Annotated[str | None, typer.Option(metavar="WHO", help="Kept for ever.", show_default="who is logged in")]
Reason = Annotated[str | None, typer.Option(metavar="WHY", help="Kept for ever, so without patient data.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@dead_letters_app.command("list")
def list_letters(
    step: Step = None,
    error: Error = None,
    topic: Topic = None,
    sender: Sender = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    all_states: Annotated[bool, typer.Option("--all", help="Those too that were sent again or discarded.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Only how many of each step and error.")] = False,
    as_json: AsJson = False,
) -> None:
    """Those that wait for a person, oldest first; above them how many of each step and error."""
    from streams.dead_letters.choosing import filter_of
    from streams.dead_letters.listing import run_list

    settings = read_settings()
    wanted = filter_of(step, error, topic, sender, key, since, until, settings.site.time_zone)
    asyncio.run(run_list(settings, wanted, all_states=all_states, counts_only=count, as_json=as_json))


@dead_letters_app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID", help="As list shows it, its first characters, or its place.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the values: they are patient data, and the audit is told.")
    ] = False,
    by: By = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """One letter, taken apart: what is wrong is marked, and values show their form only. And what became of it.

    [bold]radstream dead-letters show 5f2c1a --reveal --reason "asked by the RIS vendor, ticket 812"[/bold]
    """
    from streams.audit.acts import actor
    from streams.dead_letters.showing import run_show

    asyncio.run(run_show(read_settings(), id, actor("dead-letters", by, reason) if reveal else None, as_json=as_json))


@dead_letters_app.command()
def resend(
    ids: Ids = None,
    step: Step = None,
    error: Error = None,
    topic: Topic = None,
    sender: Sender = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    all_open: AllOpen = False,
    correct: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Send this in the place of one letter's record."),
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="Send it as it came, even behind a corrected copy of it: of letters named by ID.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="Records a second.")] = 50.0,
    by: By = None,
    reason: Reason = None,
    dry_run: DryRun = False,
) -> None:
    """Send their records again, to the step that failed. Of a delivery the latest state of its study is sent, and nothing where
    that was delivered since. The letters stay on their topic. Stopped half-way, the same command does the rest.

    [bold]radstream dead-letters resend 5f2c1a --reason "the RIS sends numbers now"[/bold]
    [bold]radstream dead-letters resend --step deliver.fhir --since 24h --reason "disk was full" --dry-run[/bold]
    [bold]radstream dead-letters resend 5f2c1a --correct mended.hl7 --reason "PID-3 was cut"[/bold]
    """
    from streams.audit.acts import actor
    from streams.dead_letters.choosing import filter_of
    from streams.dead_letters.resending import run_correct, run_resend

    settings = read_settings()
    wanted = filter_of(step, error, topic, sender, key, since, until, settings.site.time_zone)
    of = None if dry_run else actor("dead-letters", by, reason)
    if original and (correct is not None or not ids):
        raise typer.BadParameter("--original goes with IDs, and not with --correct")
    if correct is not None:
        if len(ids or []) != 1 or wanted.chooses or all_open:
            raise typer.BadParameter("--correct goes with the ID of one letter")
        well = asyncio.run(run_correct(settings, (ids or [])[0], correct, of, say=_say))
    else:
        sent = run_resend(settings, ids or [], wanted, of, all_open=all_open, rate=rate, say=_say, original=original)
        well = asyncio.run(sent)
    if not well:
        raise typer.Exit(1)


@dead_letters_app.command()
def discard(
    ids: Ids = None,
    step: Step = None,
    error: Error = None,
    topic: Topic = None,
    sender: Sender = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    all_open: AllOpen = False,
    by: By = None,
    reason: Reason = None,
    dry_run: DryRun = False,
) -> None:
    """Say that nobody needs to look at them any more. They stay on their topic, and may still be sent again by their ids.

    [bold]radstream dead-letters discard 5f2c1a --reason "a test message of the vendor"[/bold]
    """
    from streams.audit.acts import actor
    from streams.dead_letters.choosing import filter_of
    from streams.dead_letters.discarding import run_discard

    settings = read_settings()
    wanted = filter_of(step, error, topic, sender, key, since, until, settings.site.time_zone)
    of = None if dry_run else actor("dead-letters", by, reason)
    if not asyncio.run(run_discard(settings, ids or [], wanted, of, all_open=all_open, say=_say)):
        raise typer.Exit(1)


def _say(line: str) -> None:
    console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
