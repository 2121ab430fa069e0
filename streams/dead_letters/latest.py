"""States of studies as they stand on a topic now, and which of them were delivered: of those that are asked for, reading the topics
once and opening no other value."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from pydantic import ValidationError

from schemas.events import DeliveryAcknowledged
from schemas.findings import Findings
from schemas.ports import Record
from schemas.renderings.fhir.envelope import open_bundle
from streams import topics
from streams.existing import Readable


class Report(NamedTuple):
    """Whose states are ordered among themselves."""

    study: str
    service: str


class State(NamedTuple):
    report: Report
    sequence: int
    outward: bool


def state_of(topic: str, value: bytes) -> State | None:
    """Of a value of `ai.results` or `ai.findings`; None when it is none."""
    try:
        if topic == topics.FINDINGS.name:
            envelope = open_bundle(value)
            return State(Report(str(envelope.study_instance_uid), envelope.service), envelope.sequence, True)
        findings = Findings.model_validate_json(value)
    except (ValueError, RecursionError):  # ValidationError is one of the first
        return None
    of = findings.subject
    return State(Report(str(of.study_instance_uid), findings.service), of.sequence, of.outward)


async def latest_states(log: Readable, topic: str, wanted: Collection[Report]) -> dict[Report, tuple[int, Record]]:
    """The highest number that stands there for all to be told, and its first record. Raises BrokerUnavailable."""
    found: dict[Report, tuple[int, Record]] = {}
    keys = {report.study.encode("ascii") for report in wanted}
    if not keys:
        return found
    async for record in log.read(topic):
        if record.key not in keys:
            continue
        state = state_of(topic, record.value)
        if state is None or not state.outward or state.report not in wanted:
            continue
        if state.report not in found or found[state.report][0] < state.sequence:
            found[state.report] = (state.sequence, record)
    return found


async def delivered_states(log: Readable, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """By destination (with its service, as of streams.deliveries.place_of) and study the highest number that it has taken. Raises
    BrokerUnavailable."""
    found: dict[tuple[str, str], int] = {}
    keys = {f"{place}|{study}".encode(): (place, study) for place, study in wanted}
    if not keys:
        return found
    async for record in log.read(topics.DELIVERIES.name):
        about = keys.get(record.key or b"")
        if about is None:
            continue
        try:
            event = DeliveryAcknowledged.model_validate_json(record.value)
        except ValidationError:
            continue
        if event.outcome == "stored":
            found[about] = max(event.sequence, found.get(about, 0))
    return found
