"""What the steps need from the world, as Protocols; the database is in schemas.case_store. A contract suite in tests/contract
runs on every implementation.

All I/O is async; all errors are of schemas.errors. Nothing here knows a topic name or a model.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from schemas.findings import AnalysedImage, Finding, ModelIdentity
from schemas.identifiers import SOPInstanceUID

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# --------------------------------------------------------------------------------------------------------- the log

Headers = tuple[tuple[str, bytes], ...]

#: names as Kafka allows them ("." and ".." it does not)
_PLACE = re.compile(r"(?!\.{1,2}/)([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Of TOPIC/PARTITION/OFFSET; None: it is none, for whoever may write to the log may write anything."""
        found = _PLACE.fullmatch(text)
        return cls(found[1], int(found[2]), int(found[3])) if found else None

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

    async def names(self, folder: str = "") -> Sequence[str]:
        """Of all objects in that folder ("": everywhere) at any depth, in full and sorted. Raises as `put`."""
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
    def service(self) -> str:
        """As of Findings."""
        ...

    @property
    def threshold(self) -> float | None:
        """The operating point on AnalysedImage.probability, None where it gives none."""
        ...

    async def predict(self, radiograph: Radiograph) -> Prediction:
        """Raises Unsuitable (outside the card's intended use, or nothing to see), ModelFailed, ModelUnavailable."""
        ...


class Network(Protocol):
    """The numbers of a model, wherever they are computed: here, or on an inference server."""

    def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """(n, channels, side, side) as the card's input says -> its tensors by name, n first in each shape. Raises ModelFailed,
        ModelUnavailable (a server is away, or has become another model); MemoryError: fewer at a time, please."""
        ...

    def close(self) -> None: ...


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
