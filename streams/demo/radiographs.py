"""Real radiographs of the PyPI package pydicom-data, copied as if taken for an order of ours."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from schemas.errors import SettingsInvalid
from schemas.identifiers import StudyInstanceUID

#: CR chest PA, 1955 x 1841, 15 bit, MONOCHROME1, several large masses
CHEST = "RG1_UNCR.dcm"
#: CR of a lower leg: outside the intended use
EXTREMITY = "RG3_UNCR.dcm"


def study_uid_of(accession_number: str) -> StudyInstanceUID:
    """The same accession number gives the same study, so that a demo repeated is a demo resent."""
    return StudyInstanceUID(generate_uid(entropy_srcs=["radstream", "study", accession_number]))


def copy_of(
    name: str, *, accession_number: str, patient_id: str, instance: int = 1, study: StudyInstanceUID | None = None
) -> bytes:
    """A DICOM Part 10 file: the film `name` with identifiers of ours; pixels and every other header stay as they are.

    Raises SettingsInvalid when pydicom-data is not installed.
    """
    path = get_testdata_file(name, download=False)
    if path is None:
        raise SettingsInvalid("demo", name, "the package pydicom-data is not installed: pip install 'radstream[demo]'")
    dataset = pydicom.dcmread(Path(str(path)))
    uid = study or study_uid_of(accession_number)
    dataset.AccessionNumber = accession_number
    dataset.PatientID = patient_id
    dataset.PatientName = "Demo^Radstream"
    dataset.StudyInstanceUID = uid
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[uid, "series"])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[uid, "instance", str(instance)])
    dataset.InstanceNumber = instance
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
