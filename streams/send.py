"""`radstream send` on a terminal: progress on standard error, the outcome on standard output."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.errors import SettingsInvalid
from streams.listener_settings import ListenerSettings, host_and_port
from streams.sending import LISTED, Plan, Tally, letters_of, send

_PLAIN_LINE_S = 5.0
_LISTED_LINES = 20
#: who listens everywhere is reached here
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def target(to: str | None, listener: ListenerSettings, *, tls: bool) -> tuple[str, int]:
    """Host and port of "HOST:PORT", "[IPv6]:PORT" or, when None, of our own listener. Raises SettingsInvalid."""
    if to is None:
        if listener.tls_certificate and not tls:
            raise SettingsInvalid("send", listener.name, "the listener speaks TLS: add --tls-ca FILE")
        return _HERE.get(listener.host, listener.host), listener.port
    try:
        return host_and_port(to)
    except ValueError:
        raise SettingsInvalid("send", "--to", "is not HOST:PORT") from None


async def run_send(files: Sequence[Path], plan: Plan, *, as_json: bool) -> bool:
    """Sends and tells, progress on standard error, the outcome on standard output. True when all were accepted. Ctrl-C ends it
    early, with the outcome so far. Raises as `send`."""
    letters, others = letters_of(files)
    tally = Tally(len(letters) * plan.repeat)
    for other in others:
        tally.trouble(other, "not sent: belongs to no message")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # the second time it is meant as usual

    loop.add_signal_handler(signal.SIGINT, interrupted)
    if letters:
        async with _shown(tally, Console(stderr=True)):
            await send(letters, plan, tally, stop)
    if as_json:
        sys.stdout.write(json.dumps({"to": f"{plan.host}:{plan.port}", **tally.as_dict()}, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(tally, plan)) + "\n")
    return tally.well and bool(letters)


def _lines(tally: Tally, plan: Plan) -> Iterator[str]:
    told = tally.as_dict()
    answers = ", ".join(f"{code} {number}" for code, number in told["answers"].items()) or "none"
    yield f"sent to {plan.host}:{plan.port}: {tally.done} of {tally.messages} in {tally.seconds:.2f} s ({told['messages_per_s']}/s)"
    yield f"answers: {answers}; unanswered: {tally.unanswered}; sent again: {tally.sent_again}"
    if tally.unanswered and not told["answers"]:
        yield "no answer at all: does the receiver take this host, want TLS (--tls-ca), a client certificate? Its log says it"
    if tally.latencies:
        yield f"time to the answer: p50 {told['p50_ms']} ms, p99 {told['p99_ms']} ms"
    for trouble in tally.troubles[:_LISTED_LINES]:
        yield f"  {trouble.file}:{trouble.line} {trouble.message_control_id or '(no control id)'}: {trouble.what}"
    if tally.troubled > _LISTED_LINES:
        yield f"  and {tally.troubled - _LISTED_LINES} more (--json lists {LISTED})"


@asynccontextmanager
async def _shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    telling = asyncio.create_task(_bar(tally, console) if console.is_terminal else _plain(tally))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])


async def _bar(tally: Tally, console: Console) -> None:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.0f}/s"), TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=tally.messages, rate=0.0)
        while True:
            await asyncio.sleep(0.1)  # a display has a pace of its own
            progress.update(task, completed=tally.done, rate=tally.done / (time.monotonic() - begun))


async def _plain(tally: Tally) -> None:
    while True:
        await asyncio.sleep(_PLAIN_LINE_S)
        sys.stderr.write(f"{tally.done} of {tally.messages} sent\n")
