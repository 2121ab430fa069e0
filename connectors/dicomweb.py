"""A DICOMweb archive (PS3.18): QIDO-RS and WADO-RS metadata to describe, WADO-RS to fetch, STOW-RS to store.

Every UID in an answer is compared with the one asked for: archives have been seen to answer for another study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from connectors.dicom_json import MEDIA_TYPE as _JSON
from connectors.dicom_json import first, items, objects, parsed, text
from connectors.dicom_part10 import DICOM, PART10, media_storage_sop_instance_uid, multipart, single_part
from connectors.dicomweb_study import (
    ACCESSION_NUMBER,
    INSTANCE_FIELDS,
    ISSUER_OF_ACCESSION_NUMBER,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Assigners,
    accession_number_of,
    description,
    foremost,
    has_issuer,
    uid_of,
)
from connectors.rejection_notes import KEY_OBJECT_SELECTION, rejected_by
from schemas.errors import InvalidResource, RadstreamError, Refused, Rejected, ResourceRefused, StudyIncomplete
from schemas.identifiers import AccessionNumber, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID
from schemas.study_events import ImageReference
from schemas.study_ports import StudyDescription

_PAGE = 500
#: key object selections that are read of one study, one request each
_KEY_OBJECTS = 100
#: PS3.4 C.2.2.2: asked for it, an archive looks through all it has
_WILDCARDS = frozenset("*?\\")
#: QIDO-RS for a study that nobody has: any other answer Orthanc 1.10 reads from a file, and that file may be the broken one
_PROBE = Probe("/studies?StudyInstanceUID=2.25.0&limit=1", list)

#: PS3.6 tags, as PS3.18 F.2 writes them: of answers to STOW-RS
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_FAILURE_REASON = "00081197"
_log = structlog.get_logger()


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
        self._assigners = Assigners(default_accession_assigner, default_patient_assigner)

    async def describe(self, study: StudyInstanceUID) -> StudyDescription:
        """See `StudyArchive.describe`. Two requests and one for each key object selection: the instances (QIDO-RS), and the
        metadata of one of them for numbers and issuers, because QIDO-RS servers leave sequences out (seen: Orthanc 1.10)."""
        reference = f"study {study}"
        instances = await self._instances(study, reference)
        if not instances:
            raise StudyIncomplete("describe", reference, "the archive does not know the study")
        rejected = await self._rejected(study, instances)
        try:
            header = await self._metadata(study, foremost(instances, rejected), reference)
            return description(study, instances, rejected, header, self._assigners)
        except ValueError as error:  # pydantic's ValidationError is one
            raise InvalidResource("describe", reference, f"a header breaks the standard ({type(error).__name__})") from None

    async def studies_of(self, accession_number: AccessionNumber) -> Sequence[StudyInstanceUID]:
        """See `StudyArchive.studies_of`. Answers are compared: some archives match loosely. QIDO-RS of Orthanc 1.10 leaves issuers
        out: then the number alone decides, and what `describe` says of the study is what counts."""
        reference = "studies of an accession number"
        if _WILDCARDS.intersection(accession_number.value):
            return ()
        params = [("AccessionNumber", accession_number.value), ("includefield", ISSUER_OF_ACCESSION_NUMBER)]
        found, _ = await self._search("/studies", params, "describe", reference)
        try:
            return sorted(
                StudyInstanceUID(text(study, STUDY_INSTANCE_UID) or "")
                for study in found
                if text(study, ACCESSION_NUMBER) == accession_number.value
                and (not has_issuer(study) or accession_number_of(study, self._assigners) == accession_number)
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
            params = [("includefield", tag) for tag in INSTANCE_FIELDS] + [("limit", str(_PAGE)), ("offset", str(len(found)))]
            page, limited = await self._search(f"/studies/{study}/instances", params, "describe", reference)
            for instance in page:
                _same(instance, STUDY_INSTANCE_UID, study, reference)
            try:
                new = {uid_of(instance): instance for instance in page}
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

    async def _rejected(self, study: StudyInstanceUID, instances: Sequence[dict[str, Any]]) -> frozenset[SOPInstanceUID]:
        """What rejection notes name. One that never can be read may reject any image: so it rejects all, and a person is told."""
        key_objects = [instance for instance in instances if text(instance, SOP_CLASS_UID) == KEY_OBJECT_SELECTION]
        rejected: set[SOPInstanceUID] = set()
        reference = f"study {study}"
        try:
            if len(key_objects) > _KEY_OBJECTS:
                raise InvalidResource("describe", reference, f"more than {_KEY_OBJECTS} key object selections")
            for instance in key_objects:
                reference = f"key object selection {uid_of(instance)}"
                rejected |= rejected_by(await self._metadata(study, instance, reference), study)
        except (Rejected, Refused, ValueError) as error:
            why = error.reason if isinstance(error, RadstreamError) else "it breaks the standard"
            told = "a key object selection cannot be read: all images of its study are taken as rejected"
            _log.error(told, study=study, reference=reference, error=why, alarm=True)
            return frozenset(map(uid_of, instances))
        return frozenset(rejected)

    async def _metadata(self, study: StudyInstanceUID, instance: dict[str, Any], reference: str) -> dict[str, Any]:
        series, sop_instance_uid = SeriesInstanceUID(text(instance, SERIES_INSTANCE_UID) or ""), uid_of(instance)
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
        _same(headers[0], STUDY_INSTANCE_UID, study, reference)
        _same(headers[0], SOP_INSTANCE_UID, sop_instance_uid, reference)
        return headers[0]


def _same(instance: dict[str, Any], tag: str, expected: str, reference: str) -> None:
    if text(instance, tag) != expected:
        raise InvalidResource("describe", reference, "the archive answered for something else")
