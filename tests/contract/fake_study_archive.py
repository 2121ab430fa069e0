"""An archive in memory, for tests of steps; it keeps the contract of tests/contract/study_archive.py."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from schemas.dicom import age_in_years, date_of, is_image
from schemas.errors import ResourceRefused, StudyIncomplete
from schemas.identifiers import AccessionNumber, PatientIdentifier, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.study_events import ImageReference
from schemas.study_ports import StudyDescription


class FakeStudyArchive:
    def __init__(self, default_assigner: str = "SITE") -> None:
        self._default_assigner = default_assigner
        self._files: dict[tuple[str, str], bytes] = {}

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        headers = [_header(file) for (of, _), file in sorted(self._files.items()) if of == study]
        if not headers:
            raise StudyIncomplete("describe", f"study {study}", "unknown")
        images = [header for header in headers if is_image(header.SOPClassUID)]
        rejected = frozenset(uid for header in headers for uid in _rejected_by(header, study))
        eligible = [header for header in images if header.SOPInstanceUID not in rejected]
        first = next(iter((*eligible, *images, *headers)))
        issuers = first.get("IssuerOfAccessionNumberSequence")
        return StudyDescription(
            study,
            AccessionNumber(
                value=first.AccessionNumber, assigner=issuers[0].LocalNamespaceEntityID if issuers else self._default_assigner
            )
            if first.get("AccessionNumber")
            else None,
            PatientIdentifier(value=first.PatientID, assigner=first.get("IssuerOfPatientID") or self._default_assigner)
            if first.get("PatientID")
            else None,
            tuple(map(_image, eligible)),
            age_in_years(first.get("PatientAge"), first.get("PatientBirthDate"), first.get("StudyDate")),
            first.get("StudyDescription") or None,
            frozenset(SOPInstanceUID(header.SOPInstanceUID) for header in headers),
            date_of(first.get("StudyDate")),
            rejected & {SOPInstanceUID(header.SOPInstanceUID) for header in images},
        )

    async def studies_of(self, accession_number: AccessionNumber) -> Sequence[StudyInstanceUID]:
        studies = {StudyInstanceUID(of) for of, _ in self._files}
        return sorted([study for study in studies if (await self.describe(study)).accession_number == accession_number])

    def forget(self, study: StudyInstanceUID, image: str | None = None) -> None:
        """Deletes the study, or one instance of it."""
        self._files = {key: file for key, file in self._files.items() if key[0] != study or image not in (None, key[1])}

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        try:
            return self._files[(study, image.sop_instance_uid)]
        except KeyError:
            raise StudyIncomplete("fetch", f"instance {image.sop_instance_uid}", "unknown") from None

    async def store(self, instances: Sequence[bytes]) -> None:
        for file in instances:
            try:
                header = _header(file)
            except pydicom.errors.InvalidDicomError:
                raise ResourceRefused("store", "instance", "not a DICOM file") from None
            self._files[(str(header.StudyInstanceUID), str(header.SOPInstanceUID))] = file


def _rejected_by(header: Dataset, study: str) -> list[SOPInstanceUID]:
    """Of a rejection note; one that is broken is beyond what this archive is for."""
    if header.SOPClassUID != KeyObjectSelectionDocumentStorage:
        return []
    title = header.ConceptNameCodeSequence[0]
    if (title.CodingSchemeDesignator, title.CodeValue) not in {("DCM", "113001"), ("DCM", "113037"), ("DCM", "113038")}:
        return []
    return [
        SOPInstanceUID(reference.ReferencedSOPInstanceUID)
        for of_study in header.CurrentRequestedProcedureEvidenceSequence
        if of_study.StudyInstanceUID == study
        for series in of_study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def _header(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)


def _image(header: Dataset) -> ImageReference:
    return ImageReference(
        series_instance_uid=SeriesInstanceUID(header.SeriesInstanceUID),
        sop_instance_uid=SOPInstanceUID(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        modality=header.get("Modality"),
        body_part_examined=header.get("BodyPartExamined"),
        view_position=header.get("ViewPosition"),
        presentation_intent_type=header.get("PresentationIntentType"),
        image_type=_values(header, "ImageType"),
        photometric_interpretation=header.get("PhotometricInterpretation"),
        number_of_frames=header.get("NumberOfFrames"),
        laterality=header.get("Laterality") or None,
        image_laterality=header.get("ImageLaterality") or None,
        series_description=header.get("SeriesDescription") or None,
        protocol_name=header.get("ProtocolName") or None,
        irradiation_event_uids=_values(header, "IrradiationEventUID"),
    )


def _values(header: Dataset, keyword: str) -> tuple[str, ...]:
    return (
        tuple(map(str, header[keyword].value if header[keyword].VM > 1 else [header[keyword].value])) if keyword in header else ()
    )
