"""`radstream audit`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from streams.asked_moments import TIME_HELP, asked_moment
from streams.settings import Settings, read_settings

audit_app = typer.Typer(no_args_is_help=True)
console = Console()


@audit_app.callback()
def audit() -> None:
    """Who did what, and proof that the log is as it was."""


class Format(StrEnum):
    """Of an export."""

    BALP = "balp"
    DICOM = "dicom"
    SYSLOG = "syslog"


Since = Annotated[str, typer.Option(metavar="TIME", help=f"Written then or later: {TIME_HELP}")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Written before then.")]


@audit_app.command("list")
def list_audited(
    since: Since = "7d",
    until: Until = None,
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="So many, the newest.")] = 50,
    by: Annotated[str | None, typer.Option(metavar="WHO", help="What this person did.")] = None,
    accession: Annotated[str | None, typer.Option(metavar="NUMBER", help="Who asked for this accession number.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="What was done about this study.")] = None,
    place: Annotated[
        str | None, typer.Option(metavar="TOPIC/PARTITION/OFFSET", help="Who saw this record, what came of it.")
    ] = None,
    people: Annotated[bool, typer.Option("--people", help="Only what people did.")] = False,
    engine: Annotated[bool, typer.Option("--engine", help="Only what the engine did.")] = False,
    causes: Annotated[bool, typer.Option("--causes", help="Under each, the records that led to it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Who did what, when and why; and what the engine did: deliveries, and what it could not finish. Without patient data.

    [bold]radstream audit list --people --since 30d[/bold]
    [bold]radstream audit list --accession A-4711[/bold]
    [bold]radstream audit list --engine --study 1.2.840.113619.2.1 --causes[/bold]
    """
    from streams.audit.listing import Wanted, run_list, subject_of
    from streams.audit.viewing import ENGINE, PEOPLE

    if people and engine:
        raise typer.BadParameter("--people, or --engine: without either it is both")
    settings = read_settings()
    wanted = Wanted(
        topics=PEOPLE if people else ENGINE if engine else PEOPLE + ENGINE,
        since=_moment("--since", since, settings),
        until=_moment("--until", until, settings),
        by=by,
        study=study,
        subject=None if accession is None else subject_of(settings, accession),
        place=place,
        last=last,
    )
    asyncio.run(run_list(settings, wanted, causes=causes, as_json=as_json))


@audit_app.command()
def export(
    out: Annotated[str, typer.Option(metavar="FILE", help="- is standard output.")],
    format: Annotated[
        Format,
        typer.Option(
            help="balp: FHIR AuditEvents, JSON lines; dicom: DICOM audit messages, XML lines; syslog: the same in RFC 5424."
        ),
    ] = Format.BALP,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Written then or later.", show_default="all there is")] = None,
    until: Until = None,
    without_patients: Annotated[
        bool, typer.Option("--without-patients", help="Look no patients up: then it is no act either.")
    ] = False,
    by: Annotated[
        str | None, typer.Option(metavar="WHO", help="Who takes it; kept for ever.", show_default="your login name")
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="WHY", help="Why; kept for ever, so without patient data.")
    ] = "export for the audit repository",
) -> None:
    """All of it for the hospital's audit repository, with the patients whom it concerns: they are looked up in the records that
    each act names, as far as the log still holds them. It is audited first who takes them out.

    [bold]radstream audit export --format syslog --since 24h --out audit.log --by "A. Lin" --reason "monthly review"[/bold]
    """
    from streams.audit.acts import actor
    from streams.audit.exporting import Export, run_export

    settings = read_settings()
    first, end = _moment("--since", since, settings), _moment("--until", until, settings)
    wanted = Export(format.value, first, end, patients=not without_patients)
    file = None if out == "-" else Path(out)
    who = actor("audit export", by, reason)
    asyncio.run(run_export(settings, wanted, file, who, lambda line: typer.echo(line, err=True)))


def _moment(option: str, text: str | None, settings: Settings) -> datetime | None:
    from streams.clock import SystemClock

    try:
        return None if text is None else asked_moment(text, settings.site.time_zone, SystemClock().now())
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


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
