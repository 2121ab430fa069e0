"""What a study source says: that something happened to a study in the archive. What the archive holds is counted afterwards."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from schemas.events import Event
from schemas.findings import Digest
from schemas.identifiers import AccessionNumber, SOPInstanceUID, StudyInstanceUID


class StudyNoticed(Event):
    """Names the study, or the accession number where the source knows no more (HL7). A notice is a reason to count, never a
    count: two sources that notice the same images make the same StudyCompleted."""

    TYPE: ClassVar[str] = "org.radstream.study.noticed.v1"
    #: which source, e.g. "orthanc:changes", "dicom:mpps", and its own position (a replay aid)
    source: str
    source_position: str = ""
    study_instance_uid: StudyInstanceUID | None = None
    accession_number: AccessionNumber | None = None
    #: the source itself has seen that nothing more comes: no quiet time is waited for
    settled: bool = False
    #: images were taken away, or the study's patient or number was corrected: nor here, and the study may be gone
    removed: bool = False
    #: the source knows that a procedure was done, not that images exist: it is no fault when none come
    hint: bool = False
    #: SOP Instance UIDs that the source names (IAN (0008,1199), MPPS (0040,0340)), and how many instances it promises
    instances: tuple[SOPInstanceUID, ...] = ()
    instance_count: Annotated[int, Field(ge=0)] | None = None
    #: who sent the images to the archive, where the source knows
    source_ae_title: str | None = None
    #: digest of the instances that were there when this notice was last counted: equal after the quiet time, it is complete
    counted: Digest | None = None

    @model_validator(mode="after")
    def _of_something(self) -> StudyNoticed:
        if self.study_instance_uid is None and self.accession_number is None:
            raise ValueError("a notice names a study or an accession number")
        return self

    @property
    def key(self) -> str:
        """Key of its record: all notices of one study are counted one after the other."""
        return self.study_instance_uid or str(self.accession_number)
