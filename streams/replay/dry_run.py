"""`radstream replay --dry-run`: exactly what would be read, how long it would take, and the command that would do it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.clock import SystemClock
from streams.existing import Existing
from streams.replay.answered import answers_gone
from streams.replay.estimating import seconds_of, seconds_per_analysis
from streams.replay.following import Seen
from streams.replay.plan import Plan
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.settings import Settings
from streams.wiring.clients import case_store_for, database_is_there, history_for

#: records between two lines where there is no terminal
_LINE_EVERY = 100_000
_SHOWN_EVERY = 500


async def plan_of(settings: Settings, selection: Selection, seen: Seen = lambda _: None) -> Plan:
    """Makes no topic: one that is missing holds nothing. Raises as `planned`."""
    history = Existing(history_for(settings))
    kept = case_store_for(settings) if database_is_there(settings) else None
    try:
        plan = await planned(
            selection, history, kept, seen=seen, default_charset=settings.site.default_charset, now=SystemClock().now()
        )
    finally:
        if kept is not None:
            await kept.close()
    if not plan.analyses:
        return plan
    lost, took = await answers_gone(history, plan.begins), await seconds_per_analysis(history)
    return plan.model_copy(update={"answers_gone": tuple(lost), "seconds_per_analysis": took})


@contextmanager
def reading() -> Iterator[Seen]:
    """Tells on stderr how much of the log was read: nobody knows before how much it will be."""
    console, count = Console(stderr=True), 0
    with console.status("reading the log") as status:

        def seen(more: int) -> None:
            nonlocal count
            count += more
            if console.is_terminal and count % _SHOWN_EVERY == 0:
                status.update(f"reading the log: {count} records")
            elif not console.is_terminal and count % _LINE_EVERY == 0:
                print(f"reading the log: {count} records", file=sys.stderr, flush=True)

        yield seen


def show(plan: Plan, command: Sequence[str], console: Console, *, rate: float | None, analyses: bool, as_json: bool) -> None:
    """`command`: what would run it. It names no patient and no study but those that were asked for."""
    seconds = seconds_of(plan, rate, analyses=analyses)
    if as_json:
        sys.stdout.write(json.dumps(_plain(plan, command, seconds, rate), indent=2) + "\n")
        return

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    if plan.records:
        table = Table("topic", "records", "bytes", "stretches", "from", "to")
        for part in plan.parts:
            times = _time(part.earliest), _time(part.latest)
            table.add_row(part.topic, str(part.records), str(part.bytes), str(len(part.spans)), *times)
        console.print(table)
        say(f"{_many(plan.records, 'record')}, {_many(plan.bytes, 'byte')}, {_many(len(plan.studies), 'study', 'studies')},")
        say(f"from {_time(plan.earliest)} to {_time(plan.latest)}, read from {plan.selection.start} on.")
    else:
        say("nothing on the log is of what is selected")
    for span in plan.gone:
        say(f"gone: {span}, the log does not hold it any more")
    for span in plan.answers_gone:
        say(f"gone: {span}, answers of then: those to what is read come at once, and a diff does not know them")
    if ahead := sum(len(part.ahead) for part in plan.parts):
        say(f"{_many(ahead, 'record')} with a time of a clock that was ahead: taken with the next one behind it in the partition")
    if plan.records:
        say(_how_long(plan, rate, seconds, analyses=analyses))
        say("Nothing was done. To run it:")
        say(shlex.join(command))


def _how_long(plan: Plan, rate: float | None, seconds: float | None, *, analyses: bool) -> str:
    pace = f"{_many(plan.records, 'record')} at {rate:g} a second" if rate else f"{_many(plan.records, 'record')} as fast as it can"
    if not (analyses and plan.analyses):
        return f"It takes about {_duration(seconds or 0)}: {pace}, no analysis."
    asked = _many(plan.analyses, "analysis", "analyses")
    if seconds is None or plan.seconds_per_analysis is None:
        return f"It takes {_duration(plan.records / rate if rate else 0)} for {pace}, and {asked}: none was measured yet."
    return f"It takes about {_duration(seconds)}: {pace}, {asked} of {plan.seconds_per_analysis:.2g} s as the last ones took."


def _plain(plan: Plan, command: Sequence[str], seconds: float | None, rate: float | None) -> dict[str, Any]:
    told = plan.model_dump(mode="json", exclude={"studies": True, "selection": {"patients"}})
    told["selection"]["start"] = plan.selection.start
    for name in ("records", "bytes"):
        told[name] = getattr(plan, name)
    told |= {"studies": len(plan.studies), "earliest": _iso(plan.earliest), "latest": _iso(plan.latest), "sha256": plan.sha256}
    return {**told, "rate": rate, "seconds": seconds, "command": list(command)}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(sep=" ", timespec="seconds")


def _duration(seconds: float) -> str:
    return "a second" if seconds < 1.5 else str(timedelta(seconds=round(seconds)))


def _many(count: int, one: str, more: str | None = None) -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"
