"""What an archive holds of the studies in example_findings. Made up; nobody is meant."""

from __future__ import annotations

from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, XRayRadiofluoroscopicImageStorage

from schemas.findings import Findings
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID
from schemas.renderings.dicom.evidence import Evidence
from schemas.study_events import ImageReference

SERIES = SeriesInstanceUID("1.2.826.0.1.3680043.10.511.3.1.1")


def evidence_of(findings: Findings) -> Evidence:
    """A radiograph each; one with frames where a finding lies on a frame that is not the first."""
    images = [image.sop_instance_uid for image in findings.images]
    framed = {finding.region.sop_instance_uid for finding in findings.findings if finding.region.frame > 1}
    return Evidence(header(), tuple(_image(image, framed=image in framed) for image in images))


def header() -> Dataset:
    """Of a patient whose name needs a character set."""
    held = Dataset()
    held.PatientID, held.IssuerOfPatientID = "MRN-4711", "HOSPITAL"
    held.PatientName, held.PatientBirthDate, held.PatientSex = "WANG^XIAODONG=王^小東", "19700101", "M"
    held.StudyDate, held.StudyTime, held.StudyID, held.AccessionNumber = "20261124", "081530.5", "S1", "A 7001|x"
    held.ReferringPhysicianName, held.StudyDescription = "LEE^A", "Chest PA"
    return held


def _image(image: SOPInstanceUID, *, framed: bool) -> ImageReference:
    sop_class_uid = XRayRadiofluoroscopicImageStorage if framed else DigitalXRayImageStorageForPresentation
    return ImageReference(series_instance_uid=SERIES, sop_instance_uid=image, sop_class_uid=sop_class_uid)
