"""What the steps need from an archive, and from those who say what happened in it, as Protocols (see schemas.ports)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from schemas.errors import RadstreamError
from schemas.identifiers import AccessionNumber, PatientIdentifier, SOPInstanceUID, StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.study_events import ImageReference


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


class StudyReader(Protocol):
    """A DICOMweb archive, as those see it who may only read: a sandbox (rule 12) is given nothing else."""

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


class StudyArchive(StudyReader, Protocol):
    """A DICOMweb archive."""

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
