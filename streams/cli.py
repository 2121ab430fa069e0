"""The one command: `radstream`. Exit codes: 0 done, 1 failed, 2 settings or usage."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import (
    ArchiveUnavailable,
    BrokerUnavailable,
    FhirServerUnavailable,
    RadstreamError,
    SettingsInvalid,
    StoreUnavailable,
)
from streams.audit.commands import audit_app
from streams.audit.who import LOOKED, By, Reason
from streams.dead_letters.commands import dead_letters_app
from streams.discrepancy_commands import discrepancy_app
from streams.model_commands import model_app
from streams.replay.commands import replay_app
from streams.segments.commands import topics_archived
from streams.send_command import send_files
from streams.services import ServiceError
from streams.services.commands import services_app
from streams.settings import read_settings

app = typer.Typer(
    name="radstream",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
topics_app = typer.Typer(help="The topics of the log.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(services_app, name="services", help="Local Kafka, Orthanc and FHIR server, without containers.")

app.add_typer(model_app, name="model", help="Models: which speak, how good they are, and who may ask them.")

app.add_typer(discrepancy_app, name="discrepancy", help="What the AI found in studies that were verified before.")

app.add_typer(dead_letters_app, name="dead-letters", help="What no step could finish: look, correct, send again, discard.")

app.add_typer(replay_app, name="replay")  # its own words teach

app.add_typer(audit_app, name="audit", help="Who did what, and proof that the log is as it was.")

hl7_app = typer.Typer(help="HL7 v2 messages.", no_args_is_help=True)
app.add_typer(hl7_app, name="hl7")

console = Console()
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"radstream {version('radstream')}\n")
        raise typer.Exit


@app.callback()
def radstream(
    asked: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version and end.")] = False,
) -> None:
    """An event-streaming HL7/FHIR integration engine for radiology AI: orders and images in, located findings out."""


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running behind this terminal, once it is ready.")] = False,
) -> None:
    """Run the whole engine in this terminal: one process per role, restarted when it ends. Ctrl-C stops it.

    Kafka, the archive and the FHIR server must run: see [bold]radstream services up[/bold] and [bold]radstream doctor[/bold].
    """
    from streams.up import run_up, start_up

    if detach:
        console.print(asyncio.run(start_up(read_settings())), highlight=False, markup=False, soft_wrap=True)
    else:
        asyncio.run(run_up(read_settings(), partial(console.print, markup=False)))


topics_app.command("archived")(topics_archived)


@app.command()
def down() -> None:
    """Stop the engine that [bold]radstream up[/bold] started from this folder."""
    from streams.up import stop_up

    console.print(stop_up(read_settings()), markup=False)


def _run(role: str) -> None:
    from streams.role import main as role_main

    sys.exit(role_main(role))


@app.command()
def listen() -> None:
    """Take HL7 v2 messages over MLLP; acknowledge each only once it is on the log."""
    _run("listen")


@app.command()
def watch() -> None:
    """Watch the archive, take what webhook and DICOM tell of studies, and write study-complete events."""
    _run("watch")


@app.command()
def work(
    step: Annotated[str, typer.Argument(help="normalise, correlate, analyse, report, project, render, shadow, due or keep")],
) -> None:
    """Run one step of the stream processor in this process."""
    from streams.wiring import STEPS

    if step not in STEPS:
        raise typer.BadParameter(f"there is no step {step!r}; the steps are {', '.join(STEPS)}")
    _run(f"work {step}")


@app.command()
def deliver() -> None:
    """Bring every destination to the latest state of each study."""
    _run("deliver")


@topics_app.command("ensure")
def topics_ensure() -> None:
    """Create the topics that are missing. Existing ones are left as they are."""
    from streams.wiring.clients import ensure_all_topics

    created = ensure_all_topics(read_settings())
    console.print(f"created: {', '.join(created)}" if created else "all topics are there")


@topics_app.command("list")
def topics_list(as_json: AsJson = False) -> None:
    """Topics, partitions and how many records each holds."""
    from streams.looking import list_topics_table

    list_topics_table(read_settings(), console, as_json)


@hl7_app.command("check")
def hl7_check(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True, help="Of one or several messages.")],
    reveal: Annotated[bool, typer.Option(help="Show the values too: they may be patient data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check HL7 v2 messages: where they depart from the standard, and what radstream will make of them.

    Messages may stand alone, one after the other, in MLLP frames or in FHS/BHS batches, with any line ends.
    """
    from streams.hl7_check import check

    if not check(read_settings(), files, console, as_json=as_json, reveal=reveal):
        raise typer.Exit(1)


app.command("send")(send_files)


@app.command()
def tail(
    topic: Annotated[str, typer.Argument(help="e.g. ai.results")],
    last: Annotated[int, typer.Option("-n", "--last", min=0, help="Records of each partition to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with those to come; Ctrl-C ends.")] = False,
    values: Annotated[
        bool, typer.Option(help="Show the values too: they hold patient data, and it is audited who sees them.")
    ] = False,
    by: By = None,
    reason: Reason = LOOKED,
    as_json: AsJson = False,
) -> None:
    """Show records of a topic: where, when, what kind, caused by which record."""
    from streams.looking import tail_topic

    asyncio.run(tail_topic(read_settings(), topic, last, follow, values, as_json, by=by, reason=reason))


@app.command()
def case(
    accession_number: str,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="What was known then: 2026-11-30T14:05, in the site's time zone or with an offset."),
    ] = None,
    by: By = None,
    reason: Reason = LOOKED,
    as_json: AsJson = False,
) -> None:
    """One study's timeline: from the order to the delivered report. It is audited who asks for it.

    With --at: messages, orders, study, findings, report, deliveries, discrepancies and dead letters as they stood on the log then.

    [bold]radstream case A4711 --at 2026-11-30T14:05[/bold]
    """
    if at is None:
        from streams.looking import show_case

        shown = show_case(read_settings(), accession_number, console, as_json, by=by, reason=reason)
    else:
        from streams.cases.then import show_case_then

        shown = show_case_then(read_settings(), accession_number, at, console, as_json=as_json, by=by, reason=reason)
    if not asyncio.run(shown):
        _fail(
            f"nothing is known of accession number {accession_number}. Has the message come (radstream tail hl7.v2.raw)? "
            "Was it refused (radstream dead-letters list)? Is all well (radstream doctor)?"
        )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check everything the engine needs, and say what to do about what is wrong."""
    from streams.doctor import examine

    findings = asyncio.run(examine(read_settings()))
    if as_json:
        sys.stdout.write(json.dumps([finding.as_dict() for finding in findings], indent=2) + "\n")
    else:
        for finding in findings:
            console.print(finding.line(), soft_wrap=True)
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)


@app.command()
def demo(folder: Annotated[Path, typer.Option(help="Where pictures and documents are written.")] = Path("var/demo")) -> None:
    """Run the main job once on real services and a real radiograph, and show what happened."""
    from streams.demo.walk import run_demo

    asyncio.run(run_demo(folder, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True)))


def _fail(message: str, code: int = 1) -> None:
    Console(stderr=True).print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)


def main() -> None:
    """Entry point: our errors become one line and an exit code; anything else is a bug and shows its traceback."""
    try:
        app()
    except SettingsInvalid as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except (BrokerUnavailable, ArchiveUnavailable, FhirServerUnavailable, StoreUnavailable) as error:
        sys.stderr.write(f"{error} (`radstream doctor` says what to do)\n")
        sys.exit(1)
    except (RadstreamError, ServiceError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
