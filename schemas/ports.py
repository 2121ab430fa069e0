"""What the steps need from the world, as Protocols; the database is in schemas.case_store. A contract suite in tests/contract
runs on every implementation.

All I/O is async; all errors are of schemas.errors. Nothing here knows a topic name or a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from schemas.errors import RadstreamError
from schemas.findings import AnalysedImage, Finding, ModelIdentity
from schemas.identifiers import AccessionNumber, PatientIdentifier, SOPInstanceUID, StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.study_events import ImageReference

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
    #: see StudyCompleted
    patient_age_years: int | None = None
    study_description: str | None = None
    #: all instances of the study, images or not
    instances: frozenset[SOPInstanceUID] = frozenset()
    study_date: date | None = None
    #: images that a rejection note in the study names: not eligible, and none of `images`
    rejected: frozenset[SOPInstanceUID] = frozenset()


class StudyArchive(Protocol):
    """A DICOMweb archive."""

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        """QIDO-RS: the study and its eligible images. Raises StudyIncomplete when the archive does not know the study,
        ArchiveUnavailable, ItemNotServed, AccessRefused, InvalidResource (an answer about another study)."""
        ...

    async def studies_of(self, accession_number: AccessionNumber) -> Sequence[StudyInstanceUID]:
        """QIDO-RS: the studies with this accession number, sorted; those of another issuer, where the archive tells it, are left
        out. Raises as `describe`, but for StudyIncomplete."""
        ...

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        """WADO-RS: one instance as DICOM Part 10 bytes in its stored transfer syntax. Raises StudyIncomplete (404),
        ArchiveUnavailable, ItemNotServed, AccessRefused, InvalidResource (too large, not DICOM)."""
        ...

    async def store(self, instances: Sequence[bytes]) -> None:
        """STOW-RS. Raises ResourceRefused, ArchiveUnavailable, ItemNotServed, AccessRefused."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedChange:
    """What a source said that names no study: `change` its own words (JSON), `time` when, `error` why."""

    change: bytes
    time: datetime
    error: RadstreamError


@dataclass(frozen=True, slots=True)
class NoticeBatch:
    """What a source has to say: all of it goes on the log (`refused` as dead letters) before `position` is kept."""

    notices: Sequence[StudyNoticed]
    position: str | None
    refused: Sequence[RefusedChange] = ()


class StudySource(Protocol):
    """Somebody who is asked what happened to studies in the archive. What the archive holds is not its business."""

    name: str

    async def noticed_since(self, position: str | None) -> NoticeBatch:
        """The next batch after `position` (None: from the beginning). An empty batch with an unchanged position: nothing new.
        Using a change twice is harmless, missing one is not. Raises ArchiveUnavailable, AccessRefused."""
        ...


Tell = Callable[[Sequence[StudyNoticed]], Awaitable[None]]
"""Puts notices on the log; when it returns they are there, and the one who told them may be thanked. Raises BrokerUnavailable."""


class StudyListener(Protocol):
    """Somebody whom others tell what happened to studies in the archive: a StudySource that is not asked."""

    name: str

    async def listen(self, tell: Tell, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Until `stop`; what is in flight then is answered first. `ready` is called once the address is bound. Who tells something
        hears "yes" only after `tell` has returned, and "again later" when it raised Unavailable. Raises SettingsInvalid (the
        address is taken, a certificate cannot be used)."""
        ...


class StudyOrigin(Protocol):
    """An archive that remembers who sent it a study."""

    async def sent_by(self, study: StudyInstanceUID) -> str | None:
        """The application entity title that sent all its images (of a study without images: all its instances), for by who sends a
        note or a mark later nothing can be told of the images; None when they are several, or not known, nor the study.
        Raises ArchiveUnavailable, AccessRefused, ItemNotServed."""
        ...


# ---------------------------------------------------------------------------------------------------------- pixels


@dataclass(frozen=True, slots=True)
class Radiograph:
    """A decoded projection image, ready for preprocessing.

    `pixels`: 2-D, float32 or uint16, shape (rows, columns), after modality LUT, *bright = dense* (MONOCHROME1 is already
    inverted), window not applied; padding and what a shutter hides have the darkest value of the others. The header values are
    as in the file and may lie."""

    sop_instance_uid: SOPInstanceUID
    pixels: NDArray[np.float32] | NDArray[np.uint16]
    #: sha256 of the decoded stored pixels before any of the above
    pixel_sha256: str
    modality: str | None = None
    body_part_examined: str | None = None
    view_position: str | None = None
    image_type: tuple[str, ...] = ()
    series_description: str | None = None
    protocol_name: str | None = None
    #: (row, column) in mm and where it is true ("patient" or "detector"), when the file says so
    pixel_spacing_mm: tuple[float, float] | None = None
    pixel_spacing_plane: str | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """A picture for people: `png` is 8 bits of grey, rows x columns of the stored image, VOI LUT or first window applied, no header
    and no text of the file in it. `pixel_sha256` as of Radiograph."""

    png: bytes
    pixel_sha256: str


class ImageDecoder(Protocol):
    """Turns untrusted Part 10 bytes into pixels, in a process of its own."""

    async def decode(self, part10: bytes, expected: SOPInstanceUID) -> Radiograph:
        """Raises InvalidResource: truncated, broken, too large, too slow, killed its process, or another SOP Instance UID
        than `expected`. Raises Unsuitable when it holds no single projection image."""
        ...


class ImageRenderer(Protocol):
    """Turns untrusted Part 10 bytes into a picture, in a process of its own."""

    async def render(self, part10: bytes, expected: SOPInstanceUID) -> Rendering:
        """Raises as `ImageDecoder.decode`."""
        ...


class ObjectStore(Protocol):
    """Bytes by name, where several machines can read them: a folder, or S3."""

    async def put(self, name: str, value: bytes) -> None:
        """Whole or not at all; putting it again changes nothing. Raises ObjectStoreUnavailable, AccessRefused."""
        ...

    async def get(self, name: str) -> bytes | None:
        """None when there is no such object. Raises as `put`."""
        ...

    async def holds(self, name: str) -> bool:
        """Raises as `put`."""
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
