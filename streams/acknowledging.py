"""`radstream discrepancy list` and `acknowledge`: what the AI found in studies that a radiologist had verified, and who looked."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from schemas.discrepancies import (
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.errors import MalformedMessage, SettingsInvalid
from schemas.identifiers import identity
from schemas.ports import Clock, EventLog, Place, Record
from streams import topics
from streams.audit.acts import Actor, actor
from streams.audit.looks import about_to_see
from streams.audit.who import LOOKED
from streams.clock import SystemClock
from streams.emission import emit
from streams.printable import cell
from streams.settings import Settings
from streams.steps.warn import discrepancy_event
from streams.wiring.clients import ensure_all_topics, log_for

State = Literal["open", "escalated", "acknowledged", "withdrawn"]
#: of an id, that a person need not type whole
_SHORTEST = 6


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """As its events tell it; `verified_at`, `escalate_at` are known when it was seen to be opened. `seen`: ids of its events;
    `place`: of the last of them."""

    id: UUID
    state: State
    last: DiscrepancyEvent
    opened_at: datetime | None = None
    verified_at: datetime | None = None
    escalate_at: datetime | None = None
    acknowledged_by: str | None = None
    reason: str | None = None
    seen: frozenset[UUID] = frozenset()
    place: Place | None = None

    @property
    def needs_a_person(self) -> bool:
        return self.state in ("open", "escalated")

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        told = asdict(self) | {"id": str(self.id)}
        del told["last"], told["seen"], told["place"]
        number = self.last.accession_number
        told |= {
            "study_instance_uid": self.last.study_instance_uid,
            "accession_number": None if number is None else str(number),
            "service": self.last.service,
            "analysis_id": str(self.last.analysis_id),
        }
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in told.items()}


def folded(known: dict[UUID, Discrepancy], record: Record) -> None:
    """What the record makes of its discrepancy; records of one come in their order. Who acknowledged it has done so for good. It is
    opened again only after a withdrawal, by an event of another id. Raises MalformedMessage."""
    event = discrepancy_event(record)
    now = known.get(event.discrepancy_id) or Discrepancy(event.discrepancy_id, "open", event)
    if event.id in now.seen:
        return
    now = replace(now, seen=now.seen | {event.id}, place=record.place)
    match event:
        case DiscrepancyAcknowledged() if now.state != "acknowledged":
            by, reason = event.acknowledged_by, event.reason
            now = replace(now, state="acknowledged", last=event, acknowledged_by=by, reason=reason)
        case DiscrepancyOpened() if now.state != "acknowledged":
            now = replace(now, state="open", last=event, opened_at=event.time)
            now = replace(now, verified_at=event.verified_at, escalate_at=event.escalate_at)
        case DiscrepancyEscalated() if now.state == "open":  # its timer may have fired while it was withdrawn
            now = replace(now, state="escalated", last=event)
        case DiscrepancyWithdrawn() if now.state != "acknowledged":
            now = replace(now, state="withdrawn", last=event)
    known[event.discrepancy_id] = now


async def read_discrepancies(log: EventLog) -> dict[UUID, Discrepancy]:
    """All that is on the topic now; what is no event of one is passed over. Raises BrokerUnavailable."""
    known: dict[UUID, Discrepancy] = {}
    async for record in log.read(topics.DISCREPANCIES.name):
        try:
            folded(known, record)
        except MalformedMessage:
            continue  # a dead letter of the step that reads it
    return known


async def run_list(
    settings: Settings, console: Console, *, all_states: bool, as_json: bool, by: str | None = None, reason: str = LOOKED
) -> None:
    """Raises BrokerUnavailable, SettingsInvalid (who, why)."""
    who = actor("discrepancy", by, reason)
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        found = await to_be_shown(log, who, SystemClock(), all_states=all_states)
    show(found, console, as_json=as_json)


async def to_be_shown(log: EventLog, who: Actor, clock: Clock, *, all_states: bool) -> list[Discrepancy]:
    """It is on the audit who looks, when there is anything to be seen. Raises BrokerUnavailable."""
    found = [one for one in (await read_discrepancies(log)).values() if all_states or one.needs_a_person]
    if found:
        await about_to_see(log, [one.place for one in found if one.place is not None], "discrepancy list", who, clock)
    return found


def show(found: list[Discrepancy], console: Console, *, as_json: bool) -> None:
    """Oldest first. Numbers of studies are patient data, and are what was asked for."""
    rows = [one.plain() for one in sorted(found, key=lambda one: (one.last.time, str(one.id)))]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table("id", "state", "accession number", "study", "service", "AI said so", "verified before", "by", "why")
    for row in rows:
        numbers = row["accession_number"] or "", row["study_instance_uid"], row["service"]
        times = (row["opened_at"] or "")[:19], (row["verified_at"] or "")[:19]
        who = row["acknowledged_by"] or "", row["reason"] or ""
        table.add_row(*map(cell, (row["id"], row["state"], *numbers, *times, *who)))
    console.print(table if rows else "no discrepancy waits for a person")


async def run_acknowledge(settings: Settings, id: str, *, by: str, reason: str, say: Console) -> bool:
    """Whether it is acknowledged or needs it no more; False when there is none of that id. Raises SettingsInvalid,
    BrokerUnavailable."""
    await asyncio.to_thread(ensure_all_topics, settings)
    async with log_for(settings) as log:
        well, line = await acknowledged(log, id, by=by, reason=reason, clock=SystemClock())
    say.print(line, highlight=False, markup=False, soft_wrap=True)
    return well


async def acknowledged(log: EventLog, id: str, *, by: str, reason: str, clock: Clock) -> tuple[bool, str]:
    """And what to say. `id`: its first characters will do. Written for the audit first."""
    wanted = id.strip().lower()
    found = [one for one in (await read_discrepancies(log)).values() if str(one.id).startswith(wanted)]
    if len(wanted) < _SHORTEST or not found:
        return False, f"there is no discrepancy {id}: radstream discrepancy list --all"
    if len(found) > 1:
        return False, f"{len(found)} discrepancies begin with {id}: give more of it"
    (one,) = found
    if one.state == "withdrawn":
        return True, f"{one.id} is withdrawn: the AI's answer does not hold any more, nothing is to be acknowledged."
    if one.state == "acknowledged":
        return True, f"{one.id} was acknowledged already, by {one.acknowledged_by}: {one.reason}"
    event = _event(one, by.strip(), reason.strip(), clock.now())
    await log.append([emit(topics.AUDIT, f"discrepancy.{one.id}", event, None)])  # first: what acts was audited
    await log.append([emit(topics.DISCREPANCIES, str(one.last.study_instance_uid), event, None)])
    return True, f"{one.id} is acknowledged by {event.acknowledged_by}."


def _event(of: Discrepancy, by: str, reason: str, at: datetime) -> DiscrepancyAcknowledged:
    try:
        return DiscrepancyAcknowledged(
            id=identity("discrepancy-acknowledged", str(of.id), at.isoformat()),
            time=at,
            discrepancy_id=of.id,
            study_instance_uid=of.last.study_instance_uid,
            accession_number=of.last.accession_number,
            service=of.last.service,
            analysis_id=of.last.analysis_id,
            acknowledged_by=by,
            reason=reason,
        )
    except ValidationError:
        raise SettingsInvalid("acknowledge", str(of.id), "--by has 1 to 200 characters, --reason 1 to 1000") from None
