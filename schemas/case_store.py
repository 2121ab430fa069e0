"""What the steps need from the database, as Protocols (see schemas.ports), and the values that it keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from schemas.events import OrderEvent, PatientEvent
from schemas.hearings import Hearings
from schemas.history import Span
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, StudyInstanceUID
from schemas.ports import Place, Record
from schemas.study_events import StudyCompleted
from schemas.tellings import Tellings

OrderNumber = PlacerOrderNumber | FillerOrderNumber | AccessionNumber


@dataclass(frozen=True, slots=True)
class Due:
    """Parked work or a timer. `record` is what to run again (parked work); a timer names only its `case`."""

    id: UUID
    reason: str
    case: str
    not_before: datetime
    attempts: int = 0
    step: str = ""
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """The state of a study as last told: the exact outgoing value, what it says by digest and by sequence, and the id of the
    event that made it so (None: a timer)."""

    identity: str
    sequence: int
    topic: str
    value: bytes
    because: UUID | None = None


@dataclass(frozen=True, slots=True)
class StudyState:
    """A study as `correlate` knows it: at least one event, in order of first arrival; and the services that have, or are to have,
    a report of it beside the usual one, sorted."""

    events: tuple[StudyCompleted, ...]
    told: Told | None = None
    services: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a destination holds of a study."""

    destination: str
    study_instance_uid: StudyInstanceUID
    analysis_id: UUID
    sequence: int
    acknowledgement: str = ""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of `radstream case`. `what` is our own words and holds no patient data."""

    at: datetime
    place: Place
    type: str
    what: str
    study_instance_uid: str | None = None
    accession_number: str | None = None


@dataclass(frozen=True, slots=True)
class Traced:
    """A record of the timeline: what it names, in the projection's words, and the record that it came from."""

    place: Place
    at: datetime
    type: str
    names: frozenset[str]
    cause: Place | None = None


class Traces(Protocol):
    """Where the records of a case stand. Errors: StoreUnavailable."""

    async def traced(self, names: Collection[str]) -> Sequence[Traced]:
        """All records that name any of these, each with all that it names, oldest first."""
        ...

    async def named_spans(self) -> Sequence[Span]:
        """Of which places this is known, in order and apart: not of those projected before it was kept, or not at all."""
        ...


class Correlation(Hearings, Protocol):
    """The correlation tables inside one transaction that holds the locks of the cases it was opened for.

    Orders, patients and studies are kept as the set of their events, each once however often it is put: what is known of a case
    is a function of that set and of the order of first arrival, so that repeating a record changes nothing."""

    @property
    def locks_everything(self) -> bool:
        """Whether the transaction is alone in the database anyway, whichever cases it was opened for."""
        ...

    async def put_order(self, order: OrderEvent) -> None: ...

    async def orders_sharing(self, numbers: Collection[OrderNumber]) -> Sequence[OrderEvent]:
        """All order events that carry any of the numbers or replace an order that does, in order of arrival; those that changed
        an order as OrderChanged."""
        ...

    async def orders_of_patients(self, patients: Collection[PatientIdentifier]) -> Sequence[OrderEvent]:
        """All order events that name any of the identifiers, likewise."""
        ...

    async def put_patient(self, event: PatientEvent) -> None: ...

    async def patient_events(self, patients: Collection[PatientIdentifier]) -> Sequence[PatientEvent]:
        """The patient events that name any of the identifiers, in order of arrival; of those with which a sender said the same,
        only its newest (rule 8)."""
        ...

    async def put_study(self, completed: StudyCompleted) -> None: ...

    async def study(self, study: StudyInstanceUID) -> StudyState | None: ...

    async def studies_of(self, accession: AccessionNumber) -> Sequence[StudyState]:
        """The studies of which any event carries the accession number, sorted by Study Instance UID."""
        ...

    async def studies_of_patients(self, patients: Collection[PatientIdentifier]) -> Sequence[StudyInstanceUID]:
        """The studies of which any event names any of the identifiers, sorted."""
        ...

    async def put_told(self, study: StudyInstanceUID, told: Told) -> None:
        """Insert or replace."""
        ...

    async def put_service(self, study: StudyInstanceUID, service: str) -> None:
        """The service has, or is to have, a report of the study; once however often put, and never forgotten."""
        ...

    async def told_because(self, event: UUID) -> Sequence[StudyInstanceUID]:
        """The studies whose state, as last told, this event made; sorted."""
        ...

    async def put_without_order(self, study: StudyInstanceUID, at: datetime) -> None:
        """The study is told without an order; only the first moment that is put counts, and it is never forgotten: so a count
        that is asked for again is never lower."""
        ...

    async def without_order_before(self, study: StudyInstanceUID, at: datetime, within: timedelta) -> int:
        """How many other studies were put in the time `within` up to the moment of this one: the one put, else `at`."""
        ...

    async def put_due(self, due: Due) -> None: ...

    async def remove_due(self, due_id: UUID) -> None: ...


class Positions(Protocol):
    """What is kept durably by name: how far a source was read, a step that a modality works on, that a group has begun. Errors:
    StoreUnavailable."""

    async def position(self, source: str) -> str | None: ...

    async def put_position(self, source: str, position: str) -> None: ...

    async def remove_position(self, source: str) -> None:
        """Harmless when there is none."""
        ...


class CaseStore(Positions, Tellings, Traces, Protocol):
    """The database: correlation tables, due work, deliveries and tellings, source positions, views. Errors: StoreUnavailable."""

    def correlation(self, *cases: str) -> AbstractAsyncContextManager[Correlation]:
        """One serialised transaction: the rows of `cases` are inserted when absent and locked (rule 3), sorted against
        deadlock; commits at the end of the block, rolls back on an exception."""
        ...

    async def put_due(self, due: Due) -> None:
        """Insert or replace by id."""
        ...

    async def due_before(self, moment: datetime, limit: int = 100) -> Sequence[Due]: ...

    async def remove_due(self, due_id: UUID) -> None: ...

    async def delivered(self, destination: str, study: StudyInstanceUID) -> Delivery | None: ...

    async def put_delivery(self, delivery: Delivery) -> None:
        """Keeps the higher sequence."""
        ...

    async def put_analysis(self, analysis_id: UUID, value: bytes) -> bytes:
        """What an analysis said, kept for ever as it was put first; returns what is kept. A model that is promoted meanwhile
        makes no second answer of the same analysis."""
        ...

    async def analysis(self, analysis_id: UUID) -> bytes | None: ...

    async def put_timeline(self, entry: TimelineEntry, names: Collection[str] | None = None, cause: Place | None = None) -> None:
        """Once per place, however often put; with what the record names and came from, unless `names` is None."""
        ...

    async def timeline(self, accession_number: str) -> Sequence[TimelineEntry]:
        """All entries of the accession number (`value^assigner`, or the value alone) and of the studies that carry it,
        oldest first."""
        ...

    async def close(self) -> None: ...
