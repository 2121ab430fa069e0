"""What `topics list`, `tail` and `case` show. Values hold patient data and are shown only when asked for."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from connectors.kafka_admin import list_topics, topic_sizes
from schemas.case_store import TimelineEntry
from schemas.errors import SettingsInvalid
from schemas.ports import Record
from streams import topics
from streams.audit.acts import actor, audited, looked
from streams.audit.keyed import hash_key, hashed_accession_number
from streams.audit.looks import seen
from streams.audit.who import LOOKED
from streams.clock import SystemClock
from streams.hidden import HIDDEN, came_past_our_listeners, is_dead_letter, key_may_name_a_patient, shown_type
from streams.printable import printable, printable_json
from streams.settings import Settings
from streams.wiring.clients import case_store_for, database_is_there, ensure_all_topics, log_for


def list_topics_table(settings: Settings, console: Console, as_json: bool) -> None:
    """Raises BrokerUnavailable."""
    sizes = topic_sizes(settings.kafka.bootstrap, [topic.name for topic in topics.ALL])
    if as_json:
        rows = [{"topic": name, "partitions": size.partitions, "records": size.records} for name, size in sizes.items()]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table("topic", "partitions", "records")
    for topic in topics.ALL:
        size = sizes.get(topic.name)
        table.add_row(topic.name, str(size.partitions) if size else "missing", str(size.records) if size else "")
    console.print(table)


def shown(record: Record, values: bool) -> dict[str, Any]:
    """What `tail` tells of a record; `values`: with its content, and with the key and headers that may name a patient."""
    foreign = not values and came_past_our_listeners(record) and not is_dead_letter(record)

    def header(name: str) -> str | None:
        return HIDDEN if foreign and record.header(name) is not None else record.header(name)

    told: dict[str, Any] = {
        "place": str(record.place),
        "time": record.timestamp.isoformat(),
        "type": record.header("ce_type") if values else shown_type(record),
        "id": header("ce_id"),
        "cause": header("cause"),
        "key": HIDDEN if not values and key_may_name_a_patient(record) else (record.key or b"").decode("utf-8", "replace"),
        "bytes": len(record.value),
    }
    if error := header("error"):
        told |= {"step": header("step"), "error": error, "reason": header("reason")}
    if values:
        told["value"] = record.value.decode("utf-8", "replace")
    return told


def line_of(told: dict[str, Any], as_json: bool) -> str:
    """Of `tail`."""
    if as_json:
        return printable_json(told)
    line = f"{told['time'][:23]}  {told['place']:28}  {told['type'] or '-':45}  {told['key']:40}  {told['bytes']:>8} B  "
    return printable((line + "  ".join(str(told[k]) for k in ("step", "error", "reason", "value") if told.get(k))).rstrip())


async def tail_topic(
    settings: Settings,
    topic: str,
    last: int,
    follow: bool,
    values: bool,
    as_json: bool,
    *,
    by: str | None = None,
    reason: str = LOOKED,
) -> None:
    """Values are shown once it is audited who sees them. Raises BrokerUnavailable, SettingsInvalid (no such topic; who, why)."""
    who = actor("tail", by, reason)
    if topic not in await asyncio.to_thread(list_topics, settings.kafka.bootstrap):
        raise SettingsInvalid("tail", topic, "there is no such topic: `radstream topics list` names them")
    if values:
        await asyncio.to_thread(ensure_all_topics, settings)  # that of the audit may be missing yet
    async with log_for(settings) as log:
        records = log.read(topic, follow=follow, last=last)
        if values:
            records = seen(log, records, "tail", who, SystemClock())
        async for record in records:
            line = line_of(shown(record, values), as_json)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


async def case_was_asked_for(
    settings: Settings, accession_number: str, entries: Sequence[TimelineEntry], *, by: str | None, reason: str
) -> None:
    """Onto the audit, before anything is shown. Raises BrokerUnavailable, SettingsInvalid (who, why; the key of the hashes)."""
    subject = hashed_accession_number(hash_key(settings.audit.hash_key_file), accession_number)
    places = [entry.place for entry in entries]
    act = looked("case", actor("case", by, reason), at=SystemClock().now(), places=places, subject=subject)
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        await audited(log, "looked.case", act)


async def show_case(
    settings: Settings, accession_number: str, console: Console, as_json: bool, *, by: str | None = None, reason: str = LOOKED
) -> bool:
    """Returns whether anything is known of it; that it was asked for is audited first, also when nothing is. Raises
    StoreUnavailable, BrokerUnavailable, SettingsInvalid (who, why; the key of the hashes)."""
    if not database_is_there(settings):
        return False
    cases = case_store_for(settings)
    try:
        entries = await cases.timeline(accession_number)
    finally:
        await cases.close()
    await case_was_asked_for(settings, accession_number, entries, by=by, reason=reason)
    if as_json:
        rows = [
            {"at": e.at.isoformat(), "place": str(e.place), "type": e.type, "what": e.what, "study": e.study_instance_uid}
            for e in entries
        ]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    elif entries:
        studies = dict.fromkeys(entry.study_instance_uid for entry in entries if entry.study_instance_uid)
        for line in (f"accession number {accession_number}", *(f"study {study}" for study in studies)):
            console.print(printable(line), soft_wrap=True, markup=False)
        for entry in entries:
            when = entry.at.astimezone().isoformat(sep=" ", timespec="milliseconds")
            console.print(printable(f"{when}  {entry.place!s:26}  {entry.what}"), soft_wrap=True, highlight=False, markup=False)
    return bool(entries)
