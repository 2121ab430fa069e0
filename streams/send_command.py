"""`radstream send`: HL7 v2 messages from files to a listener."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from streams.settings import read_settings


def send_files(
    files: Annotated[list[Path], typer.Argument(help="Several messages each, if need be; - is standard input.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST:PORT", help="The receiver.", show_default="our own listener")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Messages a second, whatever the answers.", show_default="as fast as answers come"),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Send all of it so many times.")] = 1,
    connections: Annotated[int, typer.Option(min=1, help="With more than one, the order among them is lost.")] = 1,
    window: Annotated[
        int, typer.Option(min=1, help="Unanswered messages on each connection; 1 for receivers that read one at a time.")
    ] = 16,
    retries: Annotated[int, typer.Option(min=0, help="How often AE, CE or silence is answered by sending again.")] = 5,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds until an answer is given up.")] = 10.0,
    tls: Annotated[bool, typer.Option("--tls", help="TLS; whom this machine trusts is trusted.")] = False,
    tls_ca: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TLS; these authorities are trusted (PEM).")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Our own certificate, for mutual TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key.")] = None,
    allow_plaintext_beyond_loopback: Annotated[
        bool, typer.Option("--allow-plaintext-beyond-loopback", help="Names and numbers in the clear.")
    ] = False,
    new_control_ids: Annotated[
        bool, typer.Option("--new-control-ids", help="Give each message an MSH-10 of its own: else a repetition is a resend.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Send HL7 v2 messages from files over MLLP, and say how each was answered.

    Bytes go out as they are; messages may stand alone, one after the other, in MLLP frames or in FHS/BHS batches.
    The exit code is 0 when all were accepted (AA, CA).

    [bold]radstream send orders.hl7[/bold]
    [bold]radstream send *.hl7 --to ris.hospital:2576 --tls-ca ca.pem[/bold]
    [bold]radstream send orders.hl7 --repeat 1000 --rate 300 --new-control-ids[/bold]
    """
    from connectors.tls import client_context
    from streams.send import run_send, target
    from streams.sending import Plan

    for file in files:
        if str(file) != "-" and (file.is_dir() or not file.exists()):  # a pipe will do
            raise typer.BadParameter(f"there is no file {file}")
    if (tls_certificate is None) != (tls_key is None):
        raise typer.BadParameter("--tls-certificate and --tls-key go together")
    secured = tls or tls_ca is not None or tls_certificate is not None
    host, port = target(to, read_settings().mllp, tls=secured)
    plan = Plan(
        host=host,
        port=port,
        rate=rate,
        repeat=repeat,
        connections=connections,
        window=window,
        retries=retries,
        timeout_s=timeout_s,
        tls=client_context(tls_ca, tls_certificate, tls_key) if secured else None,
        allow_plaintext_beyond_loopback=allow_plaintext_beyond_loopback,
        new_control_ids=new_control_ids,
    )
    if not asyncio.run(run_send(files, plan, as_json=as_json)):
        raise typer.Exit(1)
