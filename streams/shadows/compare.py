"""`radstream model compare`: what the log holds of a sandbox and of the model in use, read once, with progress on a terminal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from connectors.kafka_admin import list_topics, topic_sizes
from schemas.errors import SettingsInvalid
from schemas.model_events import SandboxName
from schemas.ports import EventLog, Record
from streams import topics
from streams.asked_moments import asked_moment
from streams.clock import SystemClock
from streams.observability import configure_logging
from streams.settings import Settings
from streams.shadows.comparing import REQUEST_TOPICS, Comparing, Comparison
from streams.shadows.comparing_text import lines, plain
from streams.shadows.sandbox import Sandbox
from streams.wiring.clients import log_for

Tell = Callable[[], None]


async def run_compare(
    settings: Settings, name: SandboxName, out: Callable[[str], None], *, since: str | None, as_json: bool, studies: bool
) -> None:
    """`since`: as of `asked_moment`. Raises SettingsInvalid (no such moment, no such sandbox), BrokerUnavailable."""
    at = None if since is None else _moment(since, settings.site.time_zone)
    configure_logging("compare")
    sandbox = Sandbox(name)
    read = [sandbox.results.name, topics.RESULTS.name, *(topic.name for topic in REQUEST_TOPICS)]
    sizes = await asyncio.to_thread(topic_sizes, settings.kafka.bootstrap, read)
    if sandbox.results.name not in sizes:
        raise SettingsInvalid("compare", "--sandbox", await asyncio.to_thread(_known, settings))
    with _shown(sum(size.records for size in sizes.values())) as tell:
        async with log_for(settings) as log:
            comparison = await compared(log, sandbox, at, tell)
    if as_json:
        value = plain(comparison)
        value["changed"] = value["changed"] if studies else len(comparison.changed)
        out(json.dumps(value, indent=2))
    else:
        for line in lines(comparison, studies=studies):
            out(line)


async def compared(log: EventLog, sandbox: Sandbox, since: datetime | None, tell: Tell = lambda: None) -> Comparison:
    """`tell` is called once a record. Raises BrokerUnavailable."""
    comparing = Comparing(sandbox.name, since)
    takers: list[tuple[str, Callable[[Record], None]]] = [
        (sandbox.results.name, comparing.candidate),
        (topics.RESULTS.name, comparing.in_use),
        *((topic.name, comparing.request) for topic in REQUEST_TOPICS),
    ]
    for topic, take in takers:
        async for record in log.read(topic):
            take(record)
            tell()
    return comparing.comparison()


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        return asked_moment(text, zone, SystemClock().now()).astimezone(UTC)
    except ValueError as error:
        raise SettingsInvalid("compare", "--since", str(error)) from None


def _known(settings: Settings) -> str:
    tail = f".{topics.RESULTS.name}"
    all_names = [topic for topic in list_topics(settings.kafka.bootstrap) if topic.startswith("sandbox.") and topic.endswith(tail)]
    known = ", ".join(name.removeprefix("sandbox.").removesuffix(tail) for name in all_names)
    return f"there is no such sandbox; known: {known or 'none (`radstream model shadow` makes one)'}"


@contextmanager
def _shown(records: int) -> Iterator[Tell]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=records)
        yield lambda: progress.advance(task)
