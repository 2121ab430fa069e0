"""Events of a study: what the archive holds of it, complete, and the request to analyse it. See schemas.events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.events import Event, Priority
from schemas.findings import Digest, Subject
from schemas.identifiers import AccessionNumber, PatientIdentifier, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID


class ImageReference(BaseModel):
    """One eligible image of a study, with the headers by which images are chosen; None where absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    series_instance_uid: SeriesInstanceUID
    sop_instance_uid: SOPInstanceUID
    sop_class_uid: str
    #: (0008,0060), (0018,0015), (0018,5101), (0008,0068)
    modality: str | None = None
    body_part_examined: str | None = None
    view_position: str | None = None
    presentation_intent_type: str | None = None
    #: (0008,0008), empty values kept in their place; (0028,0004), (0028,0008)
    image_type: tuple[str, ...] = ()
    photometric_interpretation: str | None = None
    number_of_frames: int | None = None
    #: (0020,0060), (0020,0062)
    laterality: str | None = None
    image_laterality: str | None = None
    #: (0008,103E), (0018,1030): free text, may hold names and diagnoses; read by rules, never repeated
    series_description: str | None = None
    protocol_name: str | None = None
    #: (0008,3010): images that share one were made by the same exposure
    irradiation_event_uids: tuple[str, ...] = ()


def revision_of(images: Iterable[ImageReference]) -> str:
    """Digest of the sorted SOP Instance UIDs of the eligible images (rule 11): the same for whatever source saw them."""
    uids = sorted(image.sop_instance_uid for image in images)
    return hashlib.sha256("\n".join(uids).encode("ascii")).hexdigest()


class StudyCompleted(Event):
    """A study is complete in the archive, for the reason that `source` stands for."""

    TYPE: ClassVar[str] = "org.radstream.study.completed.v1"
    study_instance_uid: StudyInstanceUID
    accession_number: AccessionNumber | None = None
    patient: PatientIdentifier | None = None
    #: completed years on the day of the study
    patient_age_years: int | None = None
    #: (0008,0020)
    study_date: date | None = None
    #: (0008,1030): free text, as that of an image
    study_description: str | None = None
    images: tuple[ImageReference, ...]
    revision: Digest
    #: which StudySource said so, e.g. "orthanc:changes", and its own position (a replay aid)
    source: str
    source_position: str = ""
    #: instances of the study in the archive, images or not (0: the study is gone); how many the source promised
    instance_count: Annotated[int, Field(ge=0)] | None = None
    promised_count: Annotated[int, Field(ge=0)] | None = None
    #: images of the study that a rejection note (IHE IOCM) took out of use: they are none of `images`
    rejected_count: Annotated[int, Field(ge=0)] = 0
    #: who sent the images to the archive, where the source knows
    source_ae_title: str | None = None

    @property
    def gone(self) -> bool:
        """Whether the archive holds nothing of the study any more."""
        return self.instance_count == 0


class AnalysisRequested(Event):
    """Order and study joined; `id` is the analysis id of the Findings that will answer it."""

    TYPE: ClassVar[str] = "org.radstream.analysis.requested.v1"
    subject: Subject
    images: tuple[ImageReference, ...]
    priority: Priority = Priority.ROUTINE
    #: as of StudyCompleted
    patient_age_years: int | None = None
    study_description: str | None = None
