"""`radstream services …`: the local Kafka, Orthanc and FHIR server from the command line."""

import json
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from streams.services.local import LocalServices
from streams.services.ports import ServicePorts
from streams.services.service import ServiceError
from streams.settings import read_settings

services_app = typer.Typer(no_args_is_help=True, help="Local Kafka, Orthanc and FHIR server, without containers.")

Names = Annotated[list[str] | None, typer.Argument(help="kafka, orthanc, fhir; all of them when none is named.")]
Root = Annotated[Path | None, typer.Option(help="Folder of their data, logs and configuration; else RADSTREAM_SERVICES__ROOT.")]


@services_app.command()
def up(
    names: Names = None,
    root: Root = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here; they end when this command ends.")] = False,
) -> None:
    """Start them where the settings look for them, and wait until each does its work.

    They run on until `radstream services down`, unless --foreground. Nobody from another machine can use them.
    """
    console = Console(highlight=False)
    settings = read_settings()
    folder, ports = root or settings.services.root, ServicePorts.of(settings)
    services = LocalServices(folder, ports, attached=foreground, tell=_teller(console))
    try:
        with console.status("starting the services"):
            started = services.up(*names or ())
        if foreground and started:
            console.print("press Ctrl-C to stop them", soft_wrap=True)
            _wait_for_interrupt()
            services.down(*started)
    except ServiceError as error:
        _fail(error)


@services_app.command()
def build() -> None:
    """Fetch and build the Java ones now, so that `up` needs no network. Does nothing when they are there."""
    try:
        LocalServices(tell=_teller(Console(highlight=False))).build()
    except ServiceError as error:
        _fail(error)


@services_app.command()
def down(names: Names = None, root: Root = None) -> None:
    """Stop them; data and logs stay."""
    console = Console(highlight=False)
    try:
        with console.status("stopping the services"):
            _services(root, _teller(console)).down(*names or ())
    except ServiceError as error:
        _fail(error)


@services_app.command()
def status(
    names: Names = None,
    root: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say how each of them is now. Exit code 1 when one of them is not ready."""
    try:
        found = _services(root).status(*names or ())
    except ServiceError as error:
        _fail(error)
    if as_json:
        print(json.dumps([asdict(service) for service in found], indent=2))
    else:
        table = Table("service", "state", "address", "process", "up for", box=None)
        for service in found:
            colour = {"ready": "green", "stopped": "dim"}.get(service.state, "red")
            uptime = f"{service.uptime_seconds:.0f} s" if service.uptime_seconds is not None else ""
            state = f"[{colour}]{service.state}[/]"
            table.add_row(service.name, state, service.address, str(service.pid or ""), uptime)
        Console(highlight=False).print(table)
    raise typer.Exit(0 if all(service.state == "ready" for service in found) else 1)


@services_app.command()
def reset(
    names: Names = None,
    root: Root = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop them and delete their data: every topic, image and report."""
    services = _services(root)
    if not yes:
        if not sys.stdin.isatty():
            _fail(ServiceError("this deletes data: say --yes"), code=2)
        typer.confirm(f"Delete the data of {', '.join(names or ['kafka', 'orthanc', 'fhir'])} in {services.root}?", abort=True)
    try:
        services.reset(*names or ())
    except ServiceError as error:
        _fail(error)


def _services(root: Path | None, tell: Callable[[str], None] = print) -> LocalServices:
    return LocalServices(root or read_settings().services.root, tell=tell)


def _teller(console: Console) -> Callable[[str], None]:
    """One line per event; paths and addresses are not broken at the terminal's edge."""
    return lambda line: console.print(line, markup=False, soft_wrap=True)


def _wait_for_interrupt() -> None:
    stop = threading.Event()

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    stop.wait()


def _fail(error: ServiceError, code: int = 1) -> NoReturn:
    print(error, file=sys.stderr)
    raise typer.Exit(code)


if __name__ == "__main__":
    services_app()
