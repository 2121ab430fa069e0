"""Orthanc's change feed: a study is complete when Orthanc calls it stable (no new instance for StableAge seconds)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.pacs.orthanc_rest import OrthancRest
from schemas.errors import ArchiveUnavailable, InvalidResource, ItemNotServed
from schemas.identifiers import StudyInstanceUID, identity
from schemas.notices import StudyNoticed
from schemas.study_ports import NoticeBatch, RefusedChange

_PAGE = 100
#: Orthanc calls a study stable in its resource a moment before it writes so on its feed (seen: 2 s on a busy machine)
_FORGOTTEN_AFTER_S = 10.0
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
    """`StudySource` on GET /changes, one page a batch.

    Orthanc forgets at a restart which studies were not yet stable, and never says so of them (seen: 1.10.1, TERM and
    KILL). So studies with new instances are kept in the position until they are called stable, in the feed or, when the
    feed has been read and says nothing for `forgotten_after_s`, by their own resource."""

    name = "orthanc:changes"

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        size_limit: int = 16 * 1024 * 1024,
        access: ArchiveAccess = ArchiveAccess(),
        forgotten_after_s: float = _FORGOTTEN_AFTER_S,
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._forgotten_after_s = forgotten_after_s
        #: studies that are stable by their own resource alone, and since when that is seen (monotonic)
        self._stable_since: dict[str, float] = {}
        self._orthanc = OrthancRest(url, "watch", timeout_s=timeout_s, size_limit=size_limit, access=access)

    async def noticed_since(self, position: str | None) -> NoticeBatch:
        """See `StudySource.noticed_since`."""
        try:
            return await self._batch(position)
        except ItemNotServed as error:  # nothing here is one study's fault
            raise ArchiveUnavailable("watch", self.name, error.reason) from None

    def close(self) -> None:
        """Ends the thread of this source."""
        self._orthanc.close()

    async def _batch(self, position: str | None) -> NoticeBatch:
        start = _Position.read(position)
        page = await self._page(start.sequence)
        if page["Last"] < start.sequence:
            _log.warning("the change feed starts anew: Orthanc has lost or changed its database", source=self.name)
            return NoticeBatch((), str(_Position()))
        unstable, stable = set(start.unstable), list[dict[str, Any]]()
        for arrived, change in _by_stable_study(page["Changes"]):
            unstable |= {study["ID"] for study in await self._studies_of(arrived)}
            if change is not None:
                unstable.discard(change["ID"])
                stable.append(change)
        if page["Done"]:
            waiting = await self._studies_of(sorted(unstable))
            forgotten = self._forgotten(waiting)
            unstable = {study["ID"] for study in waiting} - forgotten
            stable += [
                {"ChangeType": "StableStudy", "Date": study["LastUpdate"], "ID": study["ID"], "Seq": page["Last"]}
                for study in waiting
                if study["ID"] in forgotten
            ]
        notices, refused = await self._notices(stable)
        return NoticeBatch(notices, str(_Position(page["Last"], frozenset(unstable))), refused)

    def _forgotten(self, waiting: Sequence[dict[str, Any]]) -> set[str]:
        """Those whose change Orthanc has forgotten to write. Who begins anew waits anew."""
        now = time.monotonic()
        self._stable_since = {study["ID"]: self._stable_since.get(study["ID"], now) for study in waiting if study["IsStable"]}
        return {name for name, since in self._stable_since.items() if now - since >= self._forgotten_after_s}

    async def _notices(self, changes: Sequence[dict[str, Any]]) -> tuple[list[StudyNoticed], list[RefusedChange]]:
        """A study that is gone by now has none: who took it away is asked elsewhere."""
        notices: list[StudyNoticed] = []
        refused: list[RefusedChange] = []
        studies = {study["ID"]: study for study in await self._studies_of([change["ID"] for change in changes])}
        for change in changes:
            if change["ID"] not in studies:
                _log.info("study deleted meanwhile", source=self.name, orthanc_id=change["ID"])
                continue
            try:
                notices.append(self._notice(studies[change["ID"]], change))
            except (KeyError, TypeError, ValueError):
                error = InvalidResource("watch", f"Orthanc study {change['ID']}", "no valid Study Instance UID")
                _log.error("study passed over", source=self.name, error=str(error), alarm=True)
                refused.append(RefusedChange(json.dumps(change, sort_keys=True).encode(), _time(change["Date"]), error))
        return notices, refused

    def _notice(self, study: dict[str, Any], change: dict[str, Any]) -> StudyNoticed:
        uid = StudyInstanceUID(study["MainDicomTags"]["StudyInstanceUID"])
        return StudyNoticed(
            id=identity("noticed", self.name, uid, str(change["Seq"]), change["Date"]),
            time=_time(change["Date"]),
            study_instance_uid=uid,
            source=self.name,
            source_position=str(change["Seq"]),
            settled=True,
        )

    async def _page(self, since: int) -> dict[str, Any]:
        page = await self._orthanc.ask("GET", f"/changes?since={since}&limit={_PAGE}", self.name)
        if not isinstance(page, dict) or not {"Changes", "Last", "Done"} <= page.keys():
            raise self._orthanc.not_orthanc(self.name)
        return page

    async def _studies_of(self, orthanc_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The studies that these resources are or belong to; those that are gone are left out."""
        return await self._orthanc.resources("Study", orthanc_ids, self.name)


def _by_stable_study(changes: Sequence[dict[str, Any]]) -> Iterator[tuple[list[str], dict[str, Any] | None]]:
    """The instances that arrived before each study that was called stable, and after the last."""
    arrived: list[str] = []
    for change in changes:
        if change["ChangeType"] == "NewInstance":
            arrived.append(change["ID"])
        elif change["ChangeType"] == "StableStudy":
            yield arrived, change
            arrived = []
    yield arrived, None


def _time(date: str) -> datetime:
    """Sent without a zone: Orthanc's dates of changes and updates are UTC."""
    return datetime.strptime(date, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
