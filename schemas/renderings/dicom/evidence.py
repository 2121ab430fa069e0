"""What an archive must tell of a study before a document of ours can be stored in it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from schemas.findings import AnalysedImage
from schemas.study_events import ImageReference

#: of the Patient and General Study Modules (PS3.3 C.7.1.1, C.7.2.1), with what makes numbers and times unique
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
TYPE_3 = ("IssuerOfPatientID", "StudyDescription", "TimezoneOffsetFromUTC")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The study as the archive holds it. `header`: TYPE_2 and TYPE_3; what it lacks is left out or empty. `images`: those of
    `Findings.images` at least."""

    header: Dataset
    images: tuple[ImageReference, ...]

    def of(self, image: AnalysedImage) -> ImageReference:
        """Raises ValueError when the archive does not hold the image any more."""
        for held in self.images:
            if held.sop_instance_uid == image.sop_instance_uid:
                return held
        raise ValueError(f"the archive told nothing of the analysed image {image.sop_instance_uid}")
