"""What the archive of the log holds, by topic and partition."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.errors import BrokerUnavailable, InvalidResource, SettingsInvalid, TopicMissing
from schemas.history import History, Span
from schemas.moments import moment_of
from schemas.ports import ObjectStore
from streams.printable import cell
from streams.progress import progress
from streams.segments.names import SegmentName, archived, gaps
from streams.segments.segment import Segment
from streams.settings import Settings
from streams.wiring.clients import live_history_for, object_store_for


@dataclass(frozen=True, slots=True)
class ArchivedPartition:
    """`live`: what the log has; None when it has no such topic, or the broker is away. `gaps`: what the archive lacks before its
    end, or before the log begins."""

    names: Sequence[SegmentName]
    live: Span | None

    @property
    def span(self) -> Span:
        first = self.names[0]
        return Span(first.topic, first.partition, first.first, max(one.end for one in self.names))

    @property
    def gaps(self) -> list[Span]:
        end = self.span.end
        late = [Span(self.span.topic, self.span.partition, end, self.live.first)] if self.live and self.live.first > end else []
        return gaps(self.names) + late

    @property
    def latest(self) -> datetime:
        return moment_of(max(one.latest for one in self.names))


async def run_list(settings: Settings, console: Console, *, check: bool, as_json: bool) -> bool:
    """False when a segment is not what it was. Raises SettingsInvalid, ObjectStoreUnavailable, AccessRefused."""
    url = settings.segments.url
    if url is None:
        raise SettingsInvalid("segments", "RADSTREAM_SEGMENTS__URL", "is not set: nothing is archived (docs/segments.md)")
    objects = object_store_for(settings, url)
    found = await partitions(objects, live_history_for(settings), settings.segments.topics)
    broken = await _broken(objects, found) if check else []
    if as_json:
        rows = [_as_json(one) for one in found]
        told = {"partitions": rows, "broken": [str(error) for error in broken]} if check else {"partitions": rows}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        console.print(_as_table(found))
        for error in broken:
            console.print(cell(str(error)), style="red", soft_wrap=True)
        if check and not broken:
            console.print(f"all {sum(len(one.names) for one in found)} segments are as they were written")
    return not broken


async def partitions(objects: ObjectStore, log: History, topics: Sequence[str]) -> list[ArchivedPartition]:
    """Of these topics, those of which anything is archived."""
    found = []
    for topic in topics:
        kept = await archived(objects, topic)
        live = {one.partition: one for one in await _live(log, topic)} if kept else {}
        found += [ArchivedPartition(names, live.get(number)) for number, names in kept.items()]
    return found


async def _live(log: History, topic: str) -> Sequence[Span]:
    try:
        return await log.spans(topic)
    except (TopicMissing, BrokerUnavailable):
        return []


async def _broken(objects: ObjectStore, found: Sequence[ArchivedPartition]) -> list[InvalidResource]:
    names = [name for one in found for name in one.names]
    broken = []
    say = Console(stderr=True)
    with progress("segments read", len(names), lambda line: say.print(line, highlight=False)) as tell:
        for number, name in enumerate(names, 1):
            try:
                for _ in Segment(name, await objects.get(str(name)) or b"").records():
                    pass
            except InvalidResource as error:
                broken.append(error)
            tell(number)
    return broken


def _as_json(one: ArchivedPartition) -> dict[str, Any]:
    return {
        "topic": one.span.topic,
        "partition": one.span.partition,
        "first": one.span.first,
        "end": one.span.end,
        "segments": len(one.names),
        "latest": one.latest.isoformat(),
        "gaps": [{"first": gap.first, "end": gap.end} for gap in one.gaps],
        "log": {"first": one.live.first, "end": one.live.end} if one.live else None,
    }


def _as_table(found: Sequence[ArchivedPartition]) -> Table:
    table = Table("topic", "partition", "archived", "segments", "until", "on the log", "gaps")
    for one in found:
        span, live = one.span, one.live
        table.add_row(
            span.topic,
            str(span.partition),
            f"{span.first} to {span.end - 1}",
            str(len(one.names)),
            one.latest.isoformat(timespec="seconds"),
            f"{live.first} to {live.end - 1}" if live is not None and len(live) else "nothing" if live is not None else "unknown",
            ", ".join(f"[red]{gap.first} to {gap.end - 1}[/red]" for gap in one.gaps) or "none",
        )
    return table
