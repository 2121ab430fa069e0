"""What DICOMweb says of a study: its instances, its numbers, and who assigned them (DICOM JSON, PS3.18 annex F)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.dicom_json import first, items, text, texts
from schemas.dicom import age_in_years, date_of, is_image
from schemas.identifiers import AccessionNumber, PatientIdentifier, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.study_events import ImageReference
from schemas.study_ports import StudyDescription

#: PS3.6 tags, as PS3.18 F.2 writes them
SOP_CLASS_UID = "00080016"
SOP_INSTANCE_UID = "00080018"
ACCESSION_NUMBER = "00080050"
ISSUER_OF_ACCESSION_NUMBER = "00080051"
STUDY_INSTANCE_UID = "0020000D"
SERIES_INSTANCE_UID = "0020000E"
_IMAGE_TYPE = "00080008"
_STUDY_DATE = "00080020"
_MODALITY = "00080060"
_PRESENTATION_INTENT_TYPE = "00080068"
_STUDY_DESCRIPTION = "00081030"
_SERIES_DESCRIPTION = "0008103E"
_IRRADIATION_EVENT_UID = "00083010"
_PATIENT_ID = "00100020"
_ISSUER_OF_PATIENT_ID = "00100021"
_BIRTH_DATE = "00100030"
_AGE = "00101010"
_BODY_PART_EXAMINED = "00180015"
_PROTOCOL_NAME = "00181030"
_VIEW_POSITION = "00185101"
_LATERALITY = "00200060"
_IMAGE_LATERALITY = "00200062"
_PHOTOMETRIC_INTERPRETATION = "00280004"
_NUMBER_OF_FRAMES = "00280008"
_LOCAL_NAMESPACE = "00400031"
_UNIVERSAL_ENTITY_ID = "00400032"

#: what QIDO-RS is asked for of each instance
INSTANCE_FIELDS = (
    *(SOP_CLASS_UID, _MODALITY, _PRESENTATION_INTENT_TYPE, _BODY_PART_EXAMINED, _VIEW_POSITION, _IMAGE_TYPE),
    *(_PHOTOMETRIC_INTERPRETATION, _NUMBER_OF_FRAMES, _LATERALITY, _IMAGE_LATERALITY, _SERIES_DESCRIPTION, _PROTOCOL_NAME),
    _IRRADIATION_EVENT_UID,
)

#: what a file says of itself and of its study, for the same rules
CHOOSING_FIELDS = (
    *INSTANCE_FIELDS,
    *(SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID),
    *(_STUDY_DATE, _STUDY_DESCRIPTION, _BIRTH_DATE, _AGE),
)


@dataclass(frozen=True, slots=True)
class Assigners:
    """Who owns the numbers for which the archive names no issuer."""

    accession_number: str
    patient: str


def foremost(instances: Sequence[dict[str, Any]], rejected: Collection[SOPInstanceUID]) -> dict[str, Any]:
    """The instance whose header speaks for the study: an eligible image, else an image, else any. Raises ValueError."""

    def rank(instance: dict[str, Any]) -> tuple[bool, bool, SOPInstanceUID]:
        return not _is_image(instance), uid_of(instance) in rejected, uid_of(instance)

    return min(instances, key=rank)


def description(
    study: StudyInstanceUID,
    instances: Sequence[dict[str, Any]],
    rejected: Collection[SOPInstanceUID],
    header: dict[str, Any],
    assigners: Assigners,
) -> StudyDescription:
    """`header`: all metadata of the foremost instance; `rejected`: what rejection notes name. Raises ValueError."""
    images = sorted(map(image_of, filter(_is_image, instances)), key=lambda image: image.sop_instance_uid)
    return StudyDescription(
        study,
        accession_number_of(header, assigners),
        _patient(header, assigners),
        tuple(image for image in images if image.sop_instance_uid not in rejected),
        age_in_years(text(header, _AGE), text(header, _BIRTH_DATE), text(header, _STUDY_DATE)),
        text(header, _STUDY_DESCRIPTION),
        frozenset(map(uid_of, instances)),
        date_of(text(header, _STUDY_DATE)),
        frozenset(image.sop_instance_uid for image in images if image.sop_instance_uid in rejected),
    )


def has_issuer(header: dict[str, Any]) -> bool:
    """Whether it says who assigned its accession number."""
    return bool(items(header, ISSUER_OF_ACCESSION_NUMBER))


def accession_number_of(header: dict[str, Any], assigners: Assigners) -> AccessionNumber | None:
    """Raises ValueError."""
    number = text(header, ACCESSION_NUMBER)
    if number is None:
        return None
    issuers = items(header, ISSUER_OF_ACCESSION_NUMBER)
    #: HL7v2 Hierarchic Designator Macro, PS3.3 table 10-17: the local namespace first, as EI.2 does
    issuer = (text(issuers[0], _LOCAL_NAMESPACE) or text(issuers[0], _UNIVERSAL_ENTITY_ID)) if issuers else None
    return AccessionNumber(value=number, assigner=issuer or assigners.accession_number)


def uid_of(instance: dict[str, Any]) -> SOPInstanceUID:
    """Raises ValueError."""
    return SOPInstanceUID(text(instance, SOP_INSTANCE_UID) or "")


def image_of(instance: dict[str, Any]) -> ImageReference:
    """Raises ValueError."""
    return ImageReference(
        series_instance_uid=SeriesInstanceUID(text(instance, SERIES_INSTANCE_UID) or ""),
        sop_instance_uid=uid_of(instance),
        sop_class_uid=text(instance, SOP_CLASS_UID) or "",
        modality=text(instance, _MODALITY),
        body_part_examined=text(instance, _BODY_PART_EXAMINED),
        view_position=text(instance, _VIEW_POSITION),
        presentation_intent_type=text(instance, _PRESENTATION_INTENT_TYPE),
        image_type=texts(instance, _IMAGE_TYPE),
        photometric_interpretation=text(instance, _PHOTOMETRIC_INTERPRETATION),
        number_of_frames=_count(instance, _NUMBER_OF_FRAMES),
        laterality=text(instance, _LATERALITY),
        image_laterality=text(instance, _IMAGE_LATERALITY),
        series_description=text(instance, _SERIES_DESCRIPTION),
        protocol_name=text(instance, _PROTOCOL_NAME),
        irradiation_event_uids=texts(instance, _IRRADIATION_EVENT_UID),
    )


def _patient(header: dict[str, Any], assigners: Assigners) -> PatientIdentifier | None:
    number = text(header, _PATIENT_ID)
    if number is None:
        return None
    return PatientIdentifier(value=number, assigner=text(header, _ISSUER_OF_PATIENT_ID) or assigners.patient)


def _is_image(instance: dict[str, Any]) -> bool:
    return is_image(text(instance, SOP_CLASS_UID) or "")


def _count(instance: dict[str, Any], tag: str) -> int | None:
    """IS: a number, or a string of digits (PS3.18 F.2.3); None for anything else."""
    value = first(instance, tag)
    digits = str(value).strip() if isinstance(value, int | str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
