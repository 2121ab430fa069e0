"""What both steps that deliver say on `radstream.deliveries`: one that asks its destination, and one that remembers for it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from schemas.events import DeliveryAcknowledged
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Record
from streams.emission import emit
from streams.topics import DELIVERIES

#: a person must see it
LATER_STATE = (
    "the destination holds a later state than was ever delivered from here: "
    "was the case store lost, or does another engine write there?"
)

Outcome = Literal["stored", "superseded"]


def place_of(destination: str, service: str) -> str:
    """The report of each service is held for itself: its states are ordered among themselves only."""
    return destination if service == CHEST_RADIOGRAPH_FINDINGS else f"{destination}#{service}"


def delivered(
    record: Record,
    place: str,
    study: StudyInstanceUID,
    analysis_id: UUID,
    sequence: int,
    time: datetime,
    outcome: Outcome,
    acknowledgement: str,
) -> Outgoing:
    """Of one state; said again, it is the same event."""
    event = DeliveryAcknowledged(
        id=identity("delivery", place, study, str(analysis_id), str(sequence), outcome),
        time=time,
        destination=place,
        study_instance_uid=study,
        analysis_id=analysis_id,
        sequence=sequence,
        outcome=outcome,
        acknowledgement=acknowledgement,
    )
    return emit(DELIVERIES, f"{place}|{study}", event, record)
