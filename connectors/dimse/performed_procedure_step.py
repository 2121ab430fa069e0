"""Modality Performed Procedure Step (PS3.4 annex F): a modality says which study it works on, and at the end which images
it made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydicom.dataset import Dataset

from connectors.dimse.data_set import accession_number_of, instance_of, items, study_of, text
from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID, identity
from schemas.notices import StudyNoticed

SOP_CLASS_UID = "1.2.840.10008.3.1.2.3.3"
SOURCE = "dicom:mpps"

#: PS3.6, PS3.4 table F.7.2-1
_REFERENCED_IMAGE_SEQUENCE = 0x00081140
_SERIES_INSTANCE_UID = 0x0020000E
_REFERENCED_NON_IMAGE_SEQUENCE = 0x00400220
_PERFORMED_STATION_AE_TITLE = 0x00400241
_STATUS = 0x00400252
_SCHEDULED_STEP_ATTRIBUTES_SEQUENCE = 0x00400270
_PERFORMED_SERIES_SEQUENCE = 0x00400340

#: PS3.5 6.2, value representation AE
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}\Z")

#: instances by Series Instance UID
Series = dict[str, tuple[SOPInstanceUID, ...]]


class Status(StrEnum):
    """(0040,0252)"""

    IN_PROGRESS = "IN PROGRESS"
    DISCONTINUED = "DISCONTINUED"
    COMPLETED = "COMPLETED"


class ScheduledStudy(BaseModel):
    """An item of Scheduled Step Attributes Sequence."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    study_instance_uid: StudyInstanceUID
    accession_number: AccessionNumber | None = None


class PerformedStep(BaseModel):
    """What is kept of a step that is not at its end. `begun` is what its N-CREATE named."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    studies: tuple[ScheduledStudy, ...]
    station: str
    begun: Series = {}
    series: Series = {}

    def is_repeated_by(self, other: PerformedStep) -> bool:
        """Whether `other` is the same N-CREATE once more."""
        return (self.studies, self.station, self.begun) == (other.studies, other.station, other.begun)

    def changed(self, series: Series) -> PerformedStep:
        """A series that is named again is replaced; one that is not stays: modalities leave out what they have said before,
        though PS3.4 F.7.2.2.2 wants the sequence whole."""
        return self.model_copy(update={"series": self.series | series})

    @property
    def instances(self) -> tuple[SOPInstanceUID, ...]:
        return tuple(dict.fromkeys(instance for named in self.series.values() for instance in named))


@dataclass(frozen=True, slots=True)
class Change:
    """What an N-SET says."""

    status: Status
    series: Series


def begun(data_set: Dataset, calling_ae_title: str, default_accession_assigner: str) -> PerformedStep:
    """Of an N-CREATE. Raises MissingIdentifier, MalformedMessage (also of a step that is at its end already, F.7.2.1.2)."""
    if _status(data_set) is not Status.IN_PROGRESS:
        raise MalformedMessage("read", "data set", "Performed Procedure Step Status is not IN PROGRESS")
    scheduled = items(data_set, _SCHEDULED_STEP_ATTRIBUTES_SEQUENCE)
    numbers = {study_of(item): accession_number_of(item, default_accession_assigner) for item in reversed(scheduled)}
    if not numbers:
        raise MissingIdentifier("read", "data set", "Scheduled Step Attributes Sequence is missing")
    studies = (ScheduledStudy(study_instance_uid=study, accession_number=numbers[study]) for study in sorted(numbers))
    station = text(data_set, _PERFORMED_STATION_AE_TITLE)
    series = _series(data_set)
    return PerformedStep(
        studies=tuple(studies),
        station=station if _AE_TITLE.match(station) else calling_ae_title,
        begun=series,
        series=series,
    )


def change_of(data_set: Dataset) -> Change:
    """Of an N-SET. Raises MissingIdentifier, MalformedMessage."""
    return Change(_status(data_set), _series(data_set))


def notices_of(step: PerformedStep, sop_instance_uid: SOPInstanceUID, time: datetime) -> tuple[StudyNoticed, ...]:
    """Of a completed step. Whose the instances of several studies are only the archive can say, so they are not named; without
    named ones it is a hint: who performs fluoroscopy need not store an image."""
    instances = step.instances if len(step.studies) == 1 else ()
    return tuple(
        StudyNoticed(
            id=identity("noticed", SOURCE, sop_instance_uid, study.study_instance_uid),
            time=time,
            source=SOURCE,
            source_position=sop_instance_uid,
            study_instance_uid=study.study_instance_uid,
            accession_number=study.accession_number,
            hint=not instances,
            instances=instances,
            source_ae_title=step.station,
        )
        for study in step.studies
    )


def _status(data_set: Dataset) -> Status:
    """Absent in an N-SET: as before."""
    try:
        return Status(text(data_set, _STATUS) or Status.IN_PROGRESS)
    except ValueError:
        raise MalformedMessage("read", "data set", "Performed Procedure Step Status has a value that is not known") from None


def _series(data_set: Dataset) -> Series:
    found: Series = {}
    for series in items(data_set, _PERFORMED_SERIES_SEQUENCE):
        references = [*items(series, _REFERENCED_IMAGE_SEQUENCE), *items(series, _REFERENCED_NON_IMAGE_SEQUENCE)]
        named = text(series, _SERIES_INSTANCE_UID)
        found[named] = (*found.get(named, ()), *map(instance_of, references))
    return found
