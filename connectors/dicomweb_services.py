"""QIDO-RS, WADO-RS and STOW-RS of one archive (PS3.18 chapter 10), each answer checked to be about what was asked.

Every UID in an answer is compared with the one asked for: archives have been seen to answer for another study.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from connectors.dicom_json import MEDIA_TYPE as _JSON
from connectors.dicom_json import first, items, objects, parsed, text
from connectors.dicom_part10 import DICOM, PART10, media_storage_sop_instance_uid, multipart, single_part
from connectors.dicomweb_study import INSTANCE_FIELDS, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, uid_of
from schemas.errors import ArchiveUnavailable, InvalidResource, ResourceRefused
from schemas.identifiers import SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

_PAGE = 500
#: QIDO-RS for a study that nobody has: any other answer Orthanc 1.10 reads from a file, and that file may be the broken one
_PROBE = Probe("/studies?StudyInstanceUID=2.25.0&limit=1", list)

#: PS3.6 tags, as PS3.18 F.2 writes them: of answers to STOW-RS
_FAILED_SOP_SEQUENCE = "00081198"
_REFERENCED_SOP_SEQUENCE = "00081199"
_FAILURE_REASON = "00081197"
#: A7xx, "Refused: Out of Resources" (PS3.18 table I.2-2): a full disk is nobody's fault who stores
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


class DicomWebServices:
    """Blocking exchanges in threads of their own (see ArchiveHttp). Each raises ArchiveUnavailable, ItemNotServed, AccessRefused,
    InvalidResource (an answer about something else, or that breaks the standard), StudyIncomplete (404); `step` and `reference`
    are for these."""

    def __init__(
        self, base_url: str, *, timeout_s: float, size_limit: int, pool_size: int, access: ArchiveAccess = ArchiveAccess()
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._http = ArchiveHttp(
            base_url, probe=_PROBE, timeout_s=timeout_s, size_limit=size_limit, pool_size=pool_size, access=access
        )

    @property
    def refuses_everything(self) -> bool:
        """See ArchiveHttp."""
        return self._http.refuses_everything

    async def search(
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

    async def instances(self, study: StudyInstanceUID, step: str, reference: str) -> list[dict[str, Any]]:
        """QIDO-RS: all instances of the study with INSTANCE_FIELDS; all pages (PS3.18 8.3.4.4): a server with a limit of its own
        says so by a Warning."""
        found: dict[SOPInstanceUID, dict[str, Any]] = {}
        while True:
            params = [("includefield", tag) for tag in INSTANCE_FIELDS] + [("limit", str(_PAGE)), ("offset", str(len(found)))]
            page, limited = await self.search(f"/studies/{study}/instances", params, step, reference)
            for instance in page:
                _same(instance, STUDY_INSTANCE_UID, study, step, reference)
            try:
                new = {uid_of(instance): instance for instance in page}
            except ValueError:
                raise InvalidResource(step, reference, "a SOP Instance UID breaks the standard") from None
            nothing_new = new.keys() <= found.keys()
            found |= new
            if nothing_new or (len(page) != _PAGE and not limited):
                return list(found.values())

    async def metadata(self, study: StudyInstanceUID, instance: dict[str, Any], step: str, reference: str) -> dict[str, Any]:
        """WADO-RS: the whole header of one instance that was found. Raises ValueError when its UIDs are none."""
        series, sop_instance_uid = SeriesInstanceUID(text(instance, SERIES_INSTANCE_UID) or ""), uid_of(instance)
        answer = await self._http.exchange(
            "GET",
            f"/studies/{study}/series/{series}/instances/{sop_instance_uid}/metadata",
            step=step,
            reference=reference,
            accept=_JSON,
        )
        headers = objects(answer, step, reference)
        if len(headers) != 1:
            raise InvalidResource(step, reference, "the metadata of one instance is not one object")
        _same(headers[0], STUDY_INSTANCE_UID, study, step, reference)
        _same(headers[0], SOP_INSTANCE_UID, sop_instance_uid, step, reference)
        return headers[0]

    async def retrieve(self, study: StudyInstanceUID, series: SeriesInstanceUID, instance: SOPInstanceUID) -> bytes:
        """WADO-RS: one instance as DICOM Part 10 bytes in its stored transfer syntax."""
        reference = f"instance {instance}"
        answer = await self._http.exchange(
            "GET",
            f"/studies/{study}/series/{series}/instances/{instance}",
            step="fetch",
            reference=reference,
            accept=f"{PART10}; transfer-syntax=*",
            media_types=frozenset({"multipart/related", DICOM}),
        )
        part10 = single_part(answer, reference)
        if media_storage_sop_instance_uid(part10, reference) != instance:
            raise InvalidResource("fetch", reference, "the archive answered with another instance")
        return part10

    async def store(self, instances: Sequence[bytes], reference: str) -> None:
        """STOW-RS. All, or ResourceRefused, or ArchiveUnavailable where there is no room; what was stored before the error stays
        stored."""
        try:
            await self._store(instances, reference)
        except ResourceRefused as error:
            if _is_full(error.operation_outcome):
                raise ArchiveUnavailable(error.step, error.reference, f"{error.reason}: out of resources") from None
            raise

    async def answers(self) -> None:
        """Returns when QIDO-RS answers as PS3.18 says."""
        await self.search(_PROBE.path, (), "ask", "QIDO-RS")

    def close(self) -> None:
        """Ends the threads."""
        self._http.close()

    async def _store(self, instances: Sequence[bytes], reference: str) -> None:
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


def _same(instance: dict[str, Any], tag: str, expected: str, step: str, reference: str) -> None:
    if text(instance, tag) != expected:
        raise InvalidResource(step, reference, "the archive answered for something else")


def _is_full(answer: bytes) -> bool:
    """Whether all that was not stored failed for want of room."""
    try:
        failed = items(json.loads(answer), _FAILED_SOP_SEQUENCE)
    except (ValueError, RecursionError, AttributeError):
        return False
    return bool(failed) and all(first(item, _FAILURE_REASON) in _OUT_OF_RESOURCES for item in failed)
