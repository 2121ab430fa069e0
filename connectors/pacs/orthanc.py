"""Orthanc's change feed: a study is complete when Orthanc calls it stable (no new instance for StableAge seconds)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from schemas.errors import (
    ArchiveUnavailable,
    InvalidResource,
    ItemNotServed,
    NotYet,
    RadstreamError,
    Rejected,
    ResourceRefused,
    StudyIncomplete,
)
from schemas.events import StudyCompleted, revision_of
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import RefusedStudy, StudyArchive, StudyBatch

_PAGE = 100
_PROBE = Probe("/system", dict)
#: of a study on which the archive fails, before it may be passed over
TRIES = 10
_NOT_ORTHANC = "the address of Orthanc answers, but not as Orthanc does"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Position:
    """The last change used, and the studies (Orthanc's ids) that have got instances since they were last stable."""

    sequence: int = 0
    unstable: frozenset[str] = frozenset()

    @classmethod
    def read(cls, position: str | None) -> _Position:
        sequence, _, unstable = (position or "0").partition(" ")
        return cls(int(sequence), frozenset(unstable.split()))

    def __str__(self) -> str:
        return " ".join([str(self.sequence), *sorted(self.unstable)])


class OrthancChanges:
    """`StudySource` on GET /changes.

    Orthanc forgets at a restart which studies were not yet stable, and never says so of them (seen: 1.10.1, TERM and
    KILL). So studies with new instances are kept in the position until they are called stable, in the feed or, when the
    feed has been read, by their own resource.

    One study that cannot be described (broken headers, an answer for another study, 500) must not block the feed, and an
    archive that answers rubbish for *every* study must not empty it. So a refused study is passed over, with an alarm in
    the log and as `refused` in the batch, only when a later study could be described; until then it is tried again. One on
    which the archive fails may be well the next moment: the others go on, but the position stays before it for `TRIES` tries."""

    name = "orthanc:changes"

    def __init__(
        self,
        url: str,
        archive: StudyArchive,
        *,
        timeout_s: float,
        size_limit: int = 16 * 1024 * 1024,
        access: ArchiveAccess = ArchiveAccess(),
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._archive = archive
        self._http = ArchiveHttp(url, probe=_PROBE, timeout_s=timeout_s, size_limit=size_limit, pool_size=1, access=access)
        #: by Orthanc's id of the study
        self._failures: Counter[str] = Counter()

    async def completed_since(self, position: str | None) -> StudyBatch:
        """See `StudySource.completed_since`."""
        start = _Position.read(position)
        since, unstable = start.sequence, set(start.unstable)
        completed: list[StudyCompleted] = []
        passed_over: list[RefusedStudy] = []
        #: the studies that could not be described since the last that could, with the sequence numbers of their changes
        refused: list[tuple[int, RefusedStudy]] = []
        held: list[tuple[int, RefusedStudy]] = []
        done = False
        while not (done or completed):
            page = await self._page(since)
            if page["Last"] < since:
                _log.warning("the change feed starts anew: Orthanc has lost or changed its database", source=self.name)
                return StudyBatch((), (), str(_Position()))
            arrived: list[str] = []
            for change in page["Changes"]:
                if change["ChangeType"] == "NewInstance":
                    arrived.append(change["ID"])
                elif change["ChangeType"] == "StableStudy":
                    unstable |= {study["ID"] for study in await self._studies_of(arrived)}
                    unstable.discard(change["ID"])
                    arrived.clear()
                    try:
                        event = await self._event(change["ID"], change["Date"], change["Seq"])
                    except _OF_ONE_STUDY as error:
                        kept = refused if self._hopeless(change["ID"], error) else held
                        kept.append((change["Seq"], _refused(change, error)))
                        continue
                    if event is not None:
                        completed.append(event)
                        passed_over += [study for _, study in refused]
                        refused.clear()
            unstable |= {study["ID"] for study in await self._studies_of(arrived)}
            since, done = page["Last"], page["Done"]
        if done:
            forgotten, broken, unstable = await self._forgotten(unstable, since)
            if forgotten:
                completed += forgotten
                passed_over += [study for _, study in refused]
                refused.clear()
            if completed:
                passed_over += broken.values()
            else:
                unstable |= broken.keys()
        again = sorted(refused + held, key=lambda one: one[0])
        if again and not completed:
            raise ArchiveUnavailable("watch", self.name, f"no study can be described; the first: {again[0][1].error}")
        for study in passed_over:
            _log.error("study passed over", source=self.name, error=str(study.error), alarm=True)
        if again:  # from before the first of them
            return StudyBatch(completed, passed_over, str(_Position(again[0][0] - 1, start.unstable | unstable)))
        return StudyBatch(completed, passed_over, str(_Position(since, frozenset(unstable))))

    def close(self) -> None:
        """Ends the thread of this source."""
        self._http.close()

    async def _forgotten(self, unstable: set[str], sequence: int) -> tuple[list[StudyCompleted], dict[str, RefusedStudy], set[str]]:
        """Studies that are stable though the feed did not say so; those of them that cannot be described; and those that
        are still to be waited for."""
        events: list[StudyCompleted] = []
        refused: dict[str, RefusedStudy] = {}
        waiting: set[str] = set()
        for study in await self._studies_of(sorted(unstable)):
            if not study["IsStable"]:
                waiting.add(study["ID"])
                continue
            try:
                event = await self._event(study["ID"], study["LastUpdate"], sequence)
            except _OF_ONE_STUDY as error:
                if not self._hopeless(study["ID"], error):
                    waiting.add(study["ID"])
                    continue
                # the change that Orthanc has forgotten to write
                change = {"ChangeType": "StableStudy", "Date": study["LastUpdate"], "ID": study["ID"]}
                refused[study["ID"]] = _refused(change, error)
                continue
            if event is not None:
                events.append(event)
        return events, refused, waiting

    def _hopeless(self, orthanc_id: str, error: RadstreamError) -> bool:
        self._failures[orthanc_id] += 1
        return not isinstance(error, NotYet) or self._failures[orthanc_id] >= TRIES

    async def _event(self, orthanc_id: str, date: str, sequence: int) -> StudyCompleted | None:
        """None when the study is gone by now."""
        study = await self._study_instance_uid(orthanc_id)
        if study is None:
            return None
        try:
            description = await self._archive.describe(study)
        except StudyIncomplete:
            if await self._study_instance_uid(orthanc_id) is not None:
                raise ItemNotServed("watch", f"study {study}", "in Orthanc, but not in its DICOMweb service") from None
            return None
        del self._failures[orthanc_id]
        revision = revision_of(description.images)
        return StudyCompleted(
            id=identity("study-completed", study, revision),
            time=_time(date),
            study_instance_uid=study,
            accession_number=description.accession_number,
            patient=description.patient,
            patient_age_years=description.patient_age_years,
            study_description=description.study_description,
            images=description.images,
            revision=revision,
            source=self.name,
            source_position=str(sequence),
        )

    async def _study_instance_uid(self, orthanc_id: str) -> StudyInstanceUID | None:
        try:
            study = await self._ask("GET", f"/studies/{orthanc_id}", f"Orthanc study {orthanc_id}")
        except StudyIncomplete:
            _log.info("study deleted meanwhile", source=self.name, orthanc_id=orthanc_id)
            return None
        try:
            return StudyInstanceUID(study["MainDicomTags"]["StudyInstanceUID"])
        except (KeyError, TypeError, ValueError):
            raise InvalidResource("watch", f"Orthanc study {orthanc_id}", "no valid Study Instance UID") from None

    async def _page(self, since: int) -> dict[str, Any]:
        page = await self._feed("GET", f"/changes?since={since}&limit={_PAGE}")
        if not isinstance(page, dict) or not {"Changes", "Last", "Done"} <= page.keys():
            raise ArchiveUnavailable("watch", self.name, _NOT_ORTHANC)
        return page

    async def _studies_of(self, orthanc_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The studies that these resources are or belong to; those that are gone are left out."""
        if not orthanc_ids:
            return []
        body = json.dumps({"Resources": orthanc_ids, "Level": "Study"}).encode("utf-8")
        studies = await self._feed("POST", "/tools/bulk-content", body)
        if not isinstance(studies, list):
            raise ArchiveUnavailable("watch", self.name, _NOT_ORTHANC)
        return studies

    async def _feed(self, method: str, path: str, body: bytes | None = None) -> Any:
        """What concerns no single study: nothing here is one study's fault."""
        try:
            return await self._ask(method, path, self.name, body)
        except ItemNotServed as error:
            raise ArchiveUnavailable("watch", self.name, error.reason) from None
        except (StudyIncomplete, InvalidResource):
            raise ArchiveUnavailable("watch", self.name, _NOT_ORTHANC) from None

    async def _ask(self, method: str, path: str, reference: str, body: bytes | None = None) -> Any:
        answer = await self._http.exchange(method, path, step="watch", reference=reference, accept="application/json", body=body)
        try:
            return json.loads(answer.content)
        except ValueError:
            raise ArchiveUnavailable("watch", reference, _NOT_ORTHANC) from None


def _refused(change: dict[str, Any], error: RadstreamError) -> RefusedStudy:
    return RefusedStudy(json.dumps(change, sort_keys=True).encode(), _time(change["Date"]), error)


def _time(date: str) -> datetime:
    """Sent without a zone: Orthanc's dates of changes and updates are UTC."""
    return datetime.strptime(date, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


#: what one study can do; anything else concerns the archive
_OF_ONE_STUDY = (Rejected, ResourceRefused, ItemNotServed)
