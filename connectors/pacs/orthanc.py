"""Orthanc's change feed: a study is complete when Orthanc calls it stable (no new instance for StableAge seconds)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from connectors.archive_http import ArchiveHttp
from schemas.errors import ArchiveUnavailable, InvalidResource, Rejected, ResourceRefused, StudyIncomplete
from schemas.events import StudyCompleted, revision_of
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import StudyArchive

_PAGE = 100
_log = structlog.get_logger()


class OrthancChanges:
    """`StudySource` on GET /changes. Positions are Orthanc's sequence numbers.

    One study that cannot be described (broken headers, an answer for another study) must not block the feed, and an
    archive that answers rubbish for *every* study must not empty it. So a refused study is passed over, with an alarm in
    the log, only when a later study of the feed could be described; until then the position stays before it."""

    name = "orthanc:changes"

    def __init__(
        self, url: str, archive: StudyArchive, *, timeout_s: float, size_limit: int = 16 * 1024 * 1024, token: str | None = None
    ) -> None:
        self._archive = archive
        self._http = ArchiveHttp(url, timeout_s=timeout_s, size_limit=size_limit, pool_size=1, token=token)

    async def completed_since(self, position: str | None) -> tuple[Sequence[StudyCompleted], str | None]:
        """See `StudySource.completed_since`."""
        since = int(position or 0)
        completed: list[StudyCompleted] = []
        #: sequence numbers and errors of the studies that could not be described since the last that could
        refused: list[tuple[int, Rejected | ResourceRefused | ArchiveUnavailable]] = []
        while True:
            page = await self._page(since)
            if page["Last"] < since:
                _log.warning("the change feed starts anew: Orthanc has lost or changed its database", source=self.name)
                return (), "0"
            for change in page["Changes"]:
                if change["ChangeType"] != "StableStudy":
                    continue
                try:
                    event = await self._event(change)
                except (Rejected, ResourceRefused, _AtOddsWithItself) as error:
                    refused.append((change["Seq"], error))
                    continue
                if event is not None:
                    for sequence, why in refused:
                        _log.error("study passed over", source=self.name, sequence=sequence, error=str(why), alarm=True)
                    refused.clear()
                    completed.append(event)
            since = page["Last"]
            if completed or page["Done"]:
                break
        if refused and not completed:
            raise ArchiveUnavailable("watch", self.name, f"no study can be described; the first: {refused[0][1]}")
        return completed, str(refused[0][0] - 1 if refused else since)

    def close(self) -> None:
        """Ends the thread of this source."""
        self._http.close()

    async def _page(self, since: int) -> dict[str, Any]:
        answer = await self._get(f"/changes?since={since}&limit={_PAGE}", f"changes since {since}")
        changes = answer.get("Changes")
        if not isinstance(changes, list) or not isinstance(answer.get("Last"), int) or not isinstance(answer.get("Done"), bool):
            raise ArchiveUnavailable("watch", self.name, "the address of Orthanc answers, but not as Orthanc does")
        return answer

    async def _event(self, change: dict[str, Any]) -> StudyCompleted | None:
        """None when the study is gone by now."""
        study = await self._study_instance_uid(change["ID"])
        if study is None:
            return None
        try:
            description = await self._archive.describe(study)
        except StudyIncomplete:
            if await self._study_instance_uid(change["ID"]) is not None:
                raise _AtOddsWithItself("watch", f"study {study}", "in Orthanc, but not in its DICOMweb service") from None
            _log.info("study deleted before it was described", source=self.name, study_instance_uid=study)
            return None
        revision = revision_of(description.images)
        return StudyCompleted(
            id=identity("study-completed", study, revision),
            # without zone, in UTC (Orthanc's LogChange)
            time=datetime.strptime(change["Date"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC),
            study_instance_uid=study,
            accession_number=description.accession_number,
            patient=description.patient,
            images=description.images,
            revision=revision,
            source=self.name,
            source_position=str(change["Seq"]),
        )

    async def _study_instance_uid(self, orthanc_id: str) -> StudyInstanceUID | None:
        try:
            study = await self._get(f"/studies/{orthanc_id}", f"Orthanc study {orthanc_id}")
        except StudyIncomplete:
            _log.info("study deleted", source=self.name, orthanc_id=orthanc_id)
            return None
        try:
            return StudyInstanceUID(study["MainDicomTags"]["StudyInstanceUID"])
        except (KeyError, TypeError, ValueError):
            raise InvalidResource("watch", f"Orthanc study {orthanc_id}", "no valid Study Instance UID") from None

    async def _get(self, path: str, reference: str) -> dict[str, Any]:
        answer = await self._http.exchange("GET", path, step="watch", reference=reference, accept="application/json")
        try:
            value = json.loads(answer.content)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ArchiveUnavailable("watch", reference, "the answer is not Orthanc's JSON")
        return value


class _AtOddsWithItself(ArchiveUnavailable):
    """Orthanc holds a study that its DICOMweb service does not know: one study's fault, or the service is away."""
