"""Small DICOM objects, made in the test: no patient, no vendor."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import BasicTextSRStorage, ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from schemas.identifiers import SOPInstanceUID, StudyInstanceUID

RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8) * 20


def radiograph(pixels: NDArray[Any] = RAMP, **headers: Any) -> Dataset:
    """A chest PA of 12 bits, MONOCHROME2; `headers` overrule, None removes."""
    made = _object(str(ComputedRadiographyImageStorage))
    made.Modality = "CR"
    made.BodyPartExamined = "CHEST"
    made.ViewPosition = "PA"
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape[-2:]
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = 12 if pixels.dtype.itemsize == 2 else 8
    made.PixelRepresentation = 1 if pixels.dtype.kind == "i" else 0
    made.PixelData = pixels.tobytes()
    for keyword, value in headers.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    if "HighBit" not in headers:
        made.HighBit = made.BitsStored - 1
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def structured_report(study: str) -> Dataset:
    """A Basic Text SR in the study."""
    made = _object(str(BasicTextSRStorage))
    made.StudyInstanceUID = study
    made.Modality = "SR"
    made.InstanceNumber = 1
    made.ValueType = "CONTAINER"
    made.CompletionFlag = "COMPLETE"
    made.VerificationFlag = "UNVERIFIED"
    made.ContinuityOfContent = "SEPARATE"
    return made


def with_issuers(image: Dataset, *, accession: str, patient: str) -> Dataset:
    """The issuers of its two numbers."""
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = accession
    image.IssuerOfAccessionNumberSequence = Sequence([issuer])
    image.IssuerOfPatientID = patient
    return image


def part10(image: Dataset) -> bytes:
    """The object as a file."""
    file = io.BytesIO()
    image.save_as(file, enforce_file_format=True)
    return file.getvalue()


def study_of(image: Dataset) -> StudyInstanceUID:
    return StudyInstanceUID(image.StudyInstanceUID)


def uid_of(image: Dataset) -> SOPInstanceUID:
    return SOPInstanceUID(image.SOPInstanceUID)


def _object(sop_class_uid: str) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class_uid
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = sop_class_uid
    made.SOPInstanceUID = generate_uid()
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID = generate_uid()
    made.SeriesInstanceUID = generate_uid()
    made.AccessionNumber = "A1"
    made.PatientID = "P1"
    made.PatientName = "Example^Only"
    made.StudyDate, made.StudyTime, made.StudyID = "20260101", "120000", "1"
    made.SeriesNumber = made.InstanceNumber = 1
    made.PatientBirthDate, made.PatientSex, made.ReferringPhysicianName = "19700101", "O", ""
    return made
