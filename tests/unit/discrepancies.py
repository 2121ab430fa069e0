"""Discrepancies and their records, for the tests of those who hear of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from schemas.discrepancies import DISCREPANCY_EVENTS, DiscrepancyAcknowledged, DiscrepancyEvent, DiscrepancyOpened
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.identifiers import AccessionNumber, StudyInstanceUID, identity
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.emission import emit
from tests.unit.cases import minutes

AT = datetime(2026, 11, 29, 9, tzinfo=UTC)
E = TypeVar("E", bound=DiscrepancyEvent)


def event(kind: type[E], number: int = 1, **more: Any) -> E:
    """Of the discrepancy of that number."""
    uid = f"1.2.826.0.1.3680043.10.511.3.{number}"
    if kind is DiscrepancyOpened:
        more = {"sequence": 5, "verified_at": AT - timedelta(hours=1), "escalate_at": AT + timedelta(hours=4)} | more
    discrepancy_id = identity("test-discrepancy", str(number))
    return kind(
        id=identity(kind.TYPE, str(number)),
        time=AT + timedelta(minutes=number),
        discrepancy_id=discrepancy_id,
        study_instance_uid=StudyInstanceUID(uid),
        accession_number=AccessionNumber(value=f"A{number}", assigner="RIS"),
        service=CHEST_RADIOGRAPH_FINDINGS,
        analysis_id=identity("test-analysis", uid),
        **more,
    )


def outgoing(of: DiscrepancyEvent) -> Outgoing:
    return emit(topics.DISCREPANCIES, str(of.study_instance_uid), of, None)


def record(of: DiscrepancyEvent, offset: int = 0) -> Record:
    out = outgoing(of)
    return Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, AT)


def discrepancies(outs: Sequence[Outgoing]) -> list[DiscrepancyEvent]:
    """Those among the outputs, each under the key of its study."""
    found = []
    for out in outs:
        if out.topic == topics.DISCREPANCIES.name:
            headers = dict(out.headers)
            event = DISCREPANCY_EVENTS[headers["ce_type"].decode()].model_validate_json(out.value)
            assert (out.key, headers["ce_id"]) == (event.study_instance_uid.encode(), str(event.id).encode())
            found.append(event)
    return found


def events_of(outs: Sequence[Outgoing]) -> list[str]:
    """Their classes."""
    return [type(event).__name__ for event in discrepancies(outs)]


def acknowledgement(of: DiscrepancyEvent, at: float = 10) -> DiscrepancyAcknowledged:
    """A person has looked at it, `at` minutes after noon."""
    return DiscrepancyAcknowledged(
        id=identity("test-acknowledged", str(at)),
        time=minutes(at),
        discrepancy_id=of.discrepancy_id,
        study_instance_uid=of.study_instance_uid,
        accession_number=of.accession_number,
        service=of.service,
        analysis_id=of.analysis_id,
        acknowledged_by="Dr B",
        reason="seen on the prior",
    )
