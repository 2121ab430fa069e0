"""What the steps need from the world, as Protocols. A contract suite in tests/contract runs on every implementation.

All I/O is async; all errors are of schemas.errors. Nothing here knows a topic name or a model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from schemas.errors import RadstreamError
from schemas.events import ImageReference, OrderEvent, PatientMerged, PatientUnlinked, PatientUpdated, StudyCompleted
from schemas.findings import AnalysedImage, Finding, ModelIdentity
from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    SOPInstanceUID,
    StudyInstanceUID,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# --------------------------------------------------------------------------------------------------------- the log

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read. `timestamp` is the broker's or the producer's, timezone-aware UTC."""

    place: Place
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp: datetime

    def header(self, name: str) -> str | None:
        """The last header of that name, as text."""
        for key, value in reversed(self.headers):
            if key == name:
                return value.decode("utf-8", "replace")
        return None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


class EventLog(Protocol):
    """An append-only log of topics (Kafka)."""

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        """Write all, acknowledged by all in-sync replicas, in order per key. Raises BrokerUnavailable when that cannot be
        said of every record within the connector's time limit (some may have been written all the same)."""
        ...

    def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        """All records now on the topic (or the `last` n of each partition), then, with `follow`, those to come.
        Raises BrokerUnavailable."""
        ...


Step = Callable[[Record], Awaitable[Sequence[Outgoing]]]
"""One verb: does its effects (committed when it returns) and returns what is to be written. Knows no runner."""

# ------------------------------------------------------------------------------------------------------- the archive


@dataclass(frozen=True, slots=True)
class StudyDescription:
    """What the archive holds of a study: eligible images only (rule 11), sorted by SOP Instance UID."""

    study_instance_uid: StudyInstanceUID
    accession_number: AccessionNumber | None
    patient: PatientIdentifier | None
    images: tuple[ImageReference, ...]


class StudyArchive(Protocol):
    """A DICOMweb archive."""

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        """QIDO-RS: the study and its eligible images. Raises StudyIncomplete when the archive does not know the study,
        ArchiveUnavailable, ItemNotServed, AccessRefused, InvalidResource (an answer about another study)."""
        ...

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        """WADO-RS: one instance as DICOM Part 10 bytes in its stored transfer syntax. Raises StudyIncomplete (404),
        ArchiveUnavailable, ItemNotServed, AccessRefused, InvalidResource (too large, not DICOM)."""
        ...

    async def store(self, instances: Sequence[bytes]) -> None:
        """STOW-RS. Raises ResourceRefused, ArchiveUnavailable, ItemNotServed, AccessRefused."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedStudy:
    """A study that its source passes over: `change` is what the source said of it (JSON), `time` when, `error` why."""

    change: bytes
    time: datetime
    error: RadstreamError


@dataclass(frozen=True, slots=True)
class StudyBatch:
    """What a source has to say: all of it goes on the log (`refused` as dead letters) before `position` is kept."""

    completed: Sequence[StudyCompleted]
    refused: Sequence[RefusedStudy]
    position: str | None


class StudySource(Protocol):
    """Somebody who knows when a study is complete."""

    name: str

    async def completed_since(self, position: str | None) -> StudyBatch:
        """The next batch after `position` (None: from the beginning). An empty batch with an unchanged position: nothing new.
        Using a change twice is harmless, missing one is not; so a study is `refused` only when it is certain that the fault
        is its own, and from the same position with the same `change`. Raises ArchiveUnavailable, AccessRefused."""
        ...


# ---------------------------------------------------------------------------------------------------------- pixels


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A decoded projection image, ready for preprocessing.

    `pixels`: 2-D, float32 or uint16, shape (rows, columns), after modality LUT, *bright = dense* (MONOCHROME1 is already
    inverted), window not applied. The header values are as in the file and may lie."""

    sop_instance_uid: SOPInstanceUID
    pixels: NDArray[np.float32] | NDArray[np.uint16]
    #: sha256 of the decoded stored pixels before any of the above
    pixel_sha256: str
    modality: str | None = None
    body_part_examined: str | None = None
    view_position: str | None = None
    #: (row, column) in mm and where it is true, when the file says so
    pixel_spacing_mm: tuple[float, float] | None = None
    pixel_spacing_plane: str | None = None


class ImageDecoder(Protocol):
    """Turns untrusted Part 10 bytes into pixels, in a process of its own."""

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        """Raises InvalidResource: truncated, broken, too large, too slow, killed its process, or another SOP Instance UID
        than `expected`. Raises Unsuitable when it holds no single projection image."""
        ...


# ----------------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model said of one radiograph. Findings are numbered from 1; the caller renumbers over several images."""

    image: AnalysedImage
    findings: tuple[Finding, ...]


class FindingModel(Protocol):
    """An AI model that finds things in a radiograph."""

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def threshold(self) -> float:
        """The operating point on AnalysedImage.probability."""
        ...

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """Raises Unsuitable (outside the card's intended use), ModelFailed."""
        ...


# ------------------------------------------------------------------------------------------------------ the case store


OrderNumber = PlacerOrderNumber | FillerOrderNumber | AccessionNumber
PatientEvent = PatientUpdated | PatientMerged | PatientUnlinked


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
    """A study as `correlate` knows it: at least one event, in order of first arrival."""

    events: tuple[StudyCompleted, ...]
    told: Told | None = None


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


class Correlation(Protocol):
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

    async def told_because(self, event: UUID) -> Sequence[StudyInstanceUID]:
        """The studies whose state, as last told, this event made; sorted."""
        ...

    async def put_due(self, due: Due) -> None: ...

    async def remove_due(self, due_id: UUID) -> None: ...


class CaseStore(Protocol):
    """The database: correlation tables, due work, deliveries, source positions, views. Errors: StoreUnavailable."""

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

    async def position(self, source: str) -> str | None: ...

    async def put_position(self, source: str, position: str) -> None: ...

    async def put_timeline(self, entry: TimelineEntry) -> None:
        """Once per place, however often put."""
        ...

    async def timeline(self, accession_number: str) -> Sequence[TimelineEntry]:
        """All entries of the accession number (`value^assigner`, or the value alone) and of the studies that carry it,
        oldest first."""
        ...

    async def close(self) -> None: ...


# -------------------------------------------------------------------------------------------------------- the outside


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a receiver answered: for FHIR the versioned reference of the DiagnosticReport it now holds. `superseded`: nothing
    was written, because it already holds a later state of the study."""

    reference: str
    superseded: bool = False


class ReportStore(Protocol):
    """A FHIR R4 server that holds our reports."""

    async def put(self, bundle: bytes) -> Acknowledgement:
        """Bring the server to what the collection Bundle (a value of `ai.findings`) says, in one transaction: PUT of every
        resource on its own id; Observations of the same report that the Bundle no longer names become
        `entered-in-error`. Repeating it changes nothing; a Bundle older (by sequence) than what the server holds changes
        nothing either. Raises FhirServerUnavailable, Conflict, ResourceRefused, AccessRefused; InvalidResource when
        `bundle` is no such Bundle; ItemNotServed."""
        ...


class Clock(Protocol):
    """Now, for those few that may ask (due sweeper, guard, listener); a sandbox gives event time."""

    def now(self) -> datetime: ...
