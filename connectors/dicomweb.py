"""A DICOMweb archive (PS3.18): QIDO-RS and WADO-RS metadata to describe, WADO-RS to fetch, STOW-RS to store.

Every UID in an answer is compared with the one asked for: archives have been seen to answer for another study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from connectors.dicom_json import MEDIA_TYPE as _JSON
from connectors.dicom_json import first, items, objects, parsed, text, texts
from connectors.dicom_part10 import DICOM, PART10, media_storage_sop_instance_uid, multipart, single_part
from schemas.dicom import age_in_years, is_image
from schemas.errors import InvalidResource, ResourceRefused, StudyIncomplete
from schemas.identifiers import AccessionNumber, PatientIdentifier, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.ports import StudyDescription
from schemas.study_events import ImageReference

_PAGE = 500
#: QIDO-RS for a study that nobody has: any other answer Orthanc 1.10 reads from a file, and that file may be the broken one
_PROBE = Probe("/studies?StudyInstanceUID=2.25.0&limit=1", list)

#: PS3.6 tags, as PS3.18 F.2 writes them
_IMAGE_TYPE = "00080008"
_SOP_CLASS_UID = "00080016"
_SOP_INSTANCE_UID = "00080018"
_STUDY_DATE = "00080020"
_ACCESSION_NUMBER = "00080050"
_ISSUER_OF_ACCESSION_NUMBER = "00080051"
_MODALITY = "00080060"
_PRESENTATION_INTENT_TYPE = "00080068"
_STUDY_DESCRIPTION = "00081030"
_SERIES_DESCRIPTION = "0008103E"
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_FAILURE_REASON = "00081197"
_IRRADIATION_EVENT_UID = "00083010"
_PATIENT_ID = "00100020"
_ISSUER_OF_PATIENT_ID = "00100021"
_BIRTH_DATE = "00100030"
_AGE = "00101010"
_BODY_PART_EXAMINED = "00180015"
_PROTOCOL_NAME = "00181030"
_VIEW_POSITION = "00185101"
_STUDY_INSTANCE_UID = "0020000D"
_SERIES_INSTANCE_UID = "0020000E"
_LATERALITY = "00200060"
_IMAGE_LATERALITY = "00200062"
_PHOTOMETRIC_INTERPRETATION = "00280004"
_NUMBER_OF_FRAMES = "00280008"
_LOCAL_NAMESPACE = "00400031"
_UNIVERSAL_ENTITY_ID = "00400032"

_IMAGE_FIELDS = (
    *(_SOP_CLASS_UID, _MODALITY, _PRESENTATION_INTENT_TYPE, _BODY_PART_EXAMINED, _VIEW_POSITION, _IMAGE_TYPE),
    *(_PHOTOMETRIC_INTERPRETATION, _NUMBER_OF_FRAMES, _LATERALITY, _IMAGE_LATERALITY, _SERIES_DESCRIPTION, _PROTOCOL_NAME),
    _IRRADIATION_EVENT_UID,
)


class DicomWebArchive:
    """`StudyArchive` on DICOMweb. The two assigners are those of numbers for which the archive names no issuer."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        size_limit: int,
        pool_size: int,
        access: ArchiveAccess = ArchiveAccess(),
        default_accession_assigner: str,
        default_patient_assigner: str,
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._http = ArchiveHttp(
            base_url, probe=_PROBE, timeout_s=timeout_s, size_limit=size_limit, pool_size=pool_size, access=access
        )
        self._default_accession_assigner = default_accession_assigner
        self._default_patient_assigner = default_patient_assigner

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        """See `StudyArchive.describe`. Two requests: the instances (QIDO-RS), and the metadata of one of them for the
        numbers and their issuers, because QIDO-RS servers leave sequences out (seen: Orthanc 1.10)."""
        reference = f"study {study}"
        instances = await self._instances(study, reference)
        if not instances:
            raise StudyIncomplete("describe", reference, "the archive does not know the study")
        try:
            images = tuple(_image(instance) for instance in instances if is_image(text(instance, _SOP_CLASS_UID) or ""))
            foremost = min(instances, key=lambda instance: (not is_image(text(instance, _SOP_CLASS_UID) or ""), _uid(instance)))
            header = await self._metadata(study, foremost, reference)
            accession_number, patient = self._accession_number(header), self._patient(header)
        except ValueError as error:  # pydantic's ValidationError is one
            raise InvalidResource("describe", reference, f"a header breaks the standard ({type(error).__name__})") from None
        return StudyDescription(
            study,
            accession_number,
            patient,
            tuple(sorted(images, key=lambda image: image.sop_instance_uid)),
            age_in_years(text(header, _AGE), text(header, _BIRTH_DATE), text(header, _STUDY_DATE)),
            text(header, _STUDY_DESCRIPTION),
            frozenset(map(_uid, instances)),
        )

    async def studies_of(self, accession_number: AccessionNumber) -> Sequence[StudyInstanceUID]:
        """See `StudyArchive.studies_of`. Answers are compared: some archives match loosely. QIDO-RS of Orthanc 1.10 leaves issuers
        out: then the number alone decides, and what `describe` says of the study is what counts."""
        reference = "studies of an accession number"
        params = [("AccessionNumber", accession_number.value), ("includefield", _ISSUER_OF_ACCESSION_NUMBER)]
        found, _ = await self._search("/studies", params, "describe", reference)
        try:
            same = [study for study in found if self._accession_number(study) == accession_number or not _issuers(study)]
            return sorted(
                StudyInstanceUID(text(study, _STUDY_INSTANCE_UID) or "")
                for study in same
                if text(study, _ACCESSION_NUMBER) == accession_number.value
            )
        except ValueError:
            raise InvalidResource("describe", reference, "a header breaks the standard") from None

    async def instance(self, study: StudyInstanceUID, image: ImageReference) -> bytes:
        """See `StudyArchive.instance`."""
        reference = f"instance {image.sop_instance_uid}"
        answer = await self._http.exchange(
            "GET",
            f"/studies/{study}/series/{image.series_instance_uid}/instances/{image.sop_instance_uid}",
            step="fetch",
            reference=reference,
            accept=f"{PART10}; transfer-syntax=*",
            media_types=frozenset({"multipart/related", DICOM}),
        )
        part10 = single_part(answer, reference)
        if media_storage_sop_instance_uid(part10, reference) != image.sop_instance_uid:
            raise InvalidResource("fetch", reference, "the archive answered with another instance")
        return part10

    async def store(self, instances: Sequence[bytes]) -> None:
        """See `StudyArchive.store`. All or an error; what was stored before the error stays stored."""
        reference = f"{len(instances)} instances"
        body, content_type = multipart(instances)
        answer = await self._http.exchange(
            "POST",
            "/studies",
            step="store",
            reference=reference,
            accept=_JSON,
            body=body,
            content_type=content_type,
            accepted_statuses=frozenset({200, 202}),  # 202: some failed or were changed, PS3.18 table 10.5.3-1
        )
        result = parsed(answer, "store", reference)
        if not isinstance(result, dict):
            raise InvalidResource("store", reference, "the answer is no DICOM JSON object")
        failed = items(result, _FAILED_SOP_SEQUENCE)
        stored = len(items(result, _REFERENCED_SOP_SEQUENCE))
        if failed or stored != len(instances):
            # PS3.18 table I.2-2: the reason is a number, without content
            reasons = sorted({str(first(item, _FAILURE_REASON)) for item in failed})
            raise ResourceRefused(
                "store", reference, f"{stored} stored, failure reasons {', '.join(reasons) or 'none given'}", answer.content
            )

    async def answers(self) -> None:
        """Returns when QIDO-RS answers as PS3.18 says. Raises as `describe`."""
        # about no study: one may be broken
        await self._search("/studies", [("StudyInstanceUID", "2.25.0"), ("limit", "1")], "ask", "QIDO-RS")

    def close(self) -> None:
        """Ends the threads of this archive."""
        self._http.close()

    async def _instances(self, study: StudyInstanceUID, reference: str) -> list[dict[str, Any]]:
        """All pages (PS3.18 8.3.4.4): a server with a limit of its own says so by a Warning."""
        found: dict[SOPInstanceUID, dict[str, Any]] = {}
        while True:
            params = [("includefield", tag) for tag in _IMAGE_FIELDS] + [("limit", str(_PAGE)), ("offset", str(len(found)))]
            page, limited = await self._search(f"/studies/{study}/instances", params, "describe", reference)
            for instance in page:
                _same(instance, _STUDY_INSTANCE_UID, study, reference)
            try:
                new = {_uid(instance): instance for instance in page}
            except ValueError:
                raise InvalidResource("describe", reference, "a SOP Instance UID breaks the standard") from None
            nothing_new = new.keys() <= found.keys()
            found |= new
            if nothing_new or (len(page) != _PAGE and not limited):
                return list(found.values())

    async def _search(
        self, path: str, params: Sequence[tuple[str, str]], step: str, reference: str
    ) -> tuple[list[dict[str, Any]], bool]:
        """QIDO-RS: what was found, and whether the server says that there is more."""
        answer = await self._http.exchange(
            "GET",
            path,
            step=step,
            reference=reference,
            accept=_JSON,
            params=params,
            accepted_statuses=frozenset({200, 204}),  # 204: nothing, PS3.18 8.3.4.4
        )
        found = objects(answer, step, reference) if answer.status == 200 else []
        return found, "299" in answer.headers.get("Warning", "")

    async def _metadata(self, study: StudyInstanceUID, instance: dict[str, Any], reference: str) -> dict[str, Any]:
        series, sop_instance_uid = SeriesInstanceUID(text(instance, _SERIES_INSTANCE_UID) or ""), _uid(instance)
        answer = await self._http.exchange(
            "GET",
            f"/studies/{study}/series/{series}/instances/{sop_instance_uid}/metadata",
            step="describe",
            reference=reference,
            accept=_JSON,
        )
        headers = objects(answer, "describe", reference)
        if len(headers) != 1:
            raise InvalidResource("describe", reference, "the metadata of one instance is not one object")
        _same(headers[0], _STUDY_INSTANCE_UID, study, reference)
        _same(headers[0], _SOP_INSTANCE_UID, sop_instance_uid, reference)
        return headers[0]

    def _accession_number(self, header: dict[str, Any]) -> AccessionNumber | None:
        number = text(header, _ACCESSION_NUMBER)
        if number is None:
            return None
        issuers = _issuers(header)
        #: HL7v2 Hierarchic Designator Macro, PS3.3 table 10-17: the local namespace first, as EI.2 does
        issuer = (text(issuers[0], _LOCAL_NAMESPACE) or text(issuers[0], _UNIVERSAL_ENTITY_ID)) if issuers else None
        return AccessionNumber(value=number, assigner=issuer or self._default_accession_assigner)

    def _patient(self, header: dict[str, Any]) -> PatientIdentifier | None:
        number = text(header, _PATIENT_ID)
        if number is None:
            return None
        return PatientIdentifier(value=number, assigner=text(header, _ISSUER_OF_PATIENT_ID) or self._default_patient_assigner)


def _issuers(header: dict[str, Any]) -> list[dict[str, Any]]:
    return items(header, _ISSUER_OF_ACCESSION_NUMBER)


def _image(instance: dict[str, Any]) -> ImageReference:
    return ImageReference(
        series_instance_uid=SeriesInstanceUID(text(instance, _SERIES_INSTANCE_UID) or ""),
        sop_instance_uid=_uid(instance),
        sop_class_uid=text(instance, _SOP_CLASS_UID) or "",
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


def _count(instance: dict[str, Any], tag: str) -> int | None:
    """IS: a number, or a string of digits (PS3.18 F.2.3); None for anything else."""
    value = first(instance, tag)
    digits = str(value).strip() if isinstance(value, int | str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None


def _uid(instance: dict[str, Any]) -> SOPInstanceUID:
    return SOPInstanceUID(text(instance, _SOP_INSTANCE_UID) or "")


def _same(instance: dict[str, Any], tag: str, expected: str, reference: str) -> None:
    if text(instance, tag) != expected:
        raise InvalidResource("describe", reference, "the archive answered for something else")
