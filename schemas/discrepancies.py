"""The AI says that something is there, of a study whose report a radiologist had already verified: events on `ai.discrepancies`.
Key: the study UID. A discrepancy is open until a person acknowledges it or the AI's answer is withdrawn."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.events import Event
from schemas.findings import ServiceName
from schemas.identifiers import AccessionNumber, StudyInstanceUID


class DiscrepancyEvent(Event):
    """`discrepancy_id` is one for study, service, revision, model, accession number and patient; the event's own id is of what
    became of it."""

    discrepancy_id: UUID
    study_instance_uid: StudyInstanceUID
    accession_number: AccessionNumber | None = None
    service: ServiceName
    analysis_id: UUID


class DiscrepancyOpened(DiscrepancyEvent):
    """`sequence` is that of the marked answer; `escalate_at`: from then on it is escalated, unless acknowledged (None: never)."""

    TYPE: ClassVar[str] = "org.radstream.discrepancy.opened.v1"
    sequence: Annotated[int, Field(ge=1)]
    verified_at: AwareDatetime
    escalate_at: AwareDatetime | None = None


class DiscrepancyEscalated(DiscrepancyEvent):
    """Nobody acknowledged it in time: the receiver of the settings is told."""

    TYPE: ClassVar[str] = "org.radstream.discrepancy.escalated.v1"


class DiscrepancyAcknowledged(DiscrepancyEvent):
    """A person has looked at it."""

    TYPE: ClassVar[str] = "org.radstream.discrepancy.acknowledged.v1"
    acknowledged_by: Annotated[str, Field(min_length=1, max_length=200)]
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class DiscrepancyWithdrawn(DiscrepancyEvent):
    """The answer that opened it holds no longer."""

    TYPE: ClassVar[str] = "org.radstream.discrepancy.withdrawn.v1"


#: by CloudEvents type
DISCREPANCY_EVENTS: dict[str, type[DiscrepancyEvent]] = {
    kind.TYPE: kind for kind in (DiscrepancyOpened, DiscrepancyEscalated, DiscrepancyAcknowledged, DiscrepancyWithdrawn)
}
