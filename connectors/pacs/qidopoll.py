"""QIDO-RS polling: any archive's list of recent studies, compared with the list of last time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from connectors.archive_access import ArchiveAccess
from connectors.archive_http import ArchiveHttp, Probe
from connectors.dicom_json import MEDIA_TYPE, first, objects, text
from schemas.errors import ArchiveUnavailable, InvalidResource, ItemNotServed, ResourceRefused, StudyIncomplete
from schemas.identifiers import StudyInstanceUID, identity
from schemas.notices import StudyNoticed
from schemas.ports import Clock
from schemas.study_ports import NoticeBatch

_PAGE = 500
#: so many studies gone between two looks, and most of them, may be another archive; and how long that is doubted
_MANY, _DOUBT = 10, timedelta(minutes=10)
_PROBE = Probe("/studies?StudyInstanceUID=2.25.0&limit=1", list)
_STUDY_DATE, _ACCESSION_NUMBER, _PATIENT_ID, _ISSUER_OF_PATIENT_ID = "00080020", "00080050", "00100020", "00100021"
_STUDY_INSTANCE_UID, _NUMBER_OF_STUDY_RELATED_INSTANCES = "0020000D", "00201208"
_FIELDS = (_STUDY_DATE, _ACCESSION_NUMBER, _PATIENT_ID, _ISSUER_OF_PATIENT_ID, _NUMBER_OF_STUDY_RELATED_INSTANCES)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Row:
    """What the list says of a study. `whose`: digest of accession number and patient, which have no business in a position."""

    day: str
    count: int
    whose: str


class QidoPolling:
    """`StudySource` for an archive that tells nobody anything: the studies of the last `days` days by Study Date
    (0008,0020), once in `interval_s` at most. New or grown: a notice. Fewer instances, another patient or accession number, or
    gone: a notice that something was removed. Which images they are is counted afterwards; one taken away and another added
    between two looks is not seen here. An empty list after one with several studies is not believed: that is an archive
    without its database; one without most of many studies only after ten minutes."""

    name = "qido"

    def __init__(
        self,
        dicomweb_url: str,
        clock: Clock,
        *,
        days: int,
        interval_s: float,
        timeout_s: float,
        size_limit: int = 64 * 1024 * 1024,
        access: ArchiveAccess = ArchiveAccess(),
    ) -> None:
        """Raises SettingsInvalid when a file of `access` cannot be used."""
        self._clock = clock
        self._days = days
        self._interval = timedelta(seconds=interval_s)
        self._next = clock.now()
        self._doubted_since: datetime | None = None
        self._http = ArchiveHttp(dicomweb_url, probe=_PROBE, timeout_s=timeout_s, size_limit=size_limit, pool_size=1, access=access)

    async def noticed_since(self, position: str | None) -> NoticeBatch:
        """See `StudySource.noticed_since`."""
        now = self._clock.now()
        if now < self._next:
            return NoticeBatch((), position)
        # a day more at both ends: study dates have no time zone
        begin, end = now.date() - timedelta(days=self._days + 1), now.date() + timedelta(days=1)
        before = _read(position)
        there = await self._rows(begin, end)
        self._next = now + self._interval
        expected = [uid for uid, row in before.items() if row.day >= f"{begin:%Y%m%d}"]
        missing = [uid for uid in expected if uid not in there]
        if len(expected) > 1 and not there:
            raise ArchiveUnavailable("watch", self.name, "the archive says that all studies are gone: is its database there?")
        self._doubt(len(missing), len(expected), now)
        noticed = {uid: _taken_away(before.get(uid), row) for uid, row in there.items() if before.get(uid) != row}
        noticed |= dict.fromkeys(missing, True)  # the others are merely too old for the list
        notices = [self._notice(uid, now, removed) for uid, removed in sorted(noticed.items())]
        kept = position if there == before else _written(there)
        return NoticeBatch(notices, kept)

    def _doubt(self, missing: int, expected: int, now: datetime) -> None:
        """An archive that was set up anew and has its first studies would have all others withdrawn. Raises ArchiveUnavailable."""
        if missing < _MANY or 2 * missing < expected:
            self._doubted_since = None
            return
        self._doubted_since = self._doubted_since or now
        if now - self._doubted_since < _DOUBT:
            reason = f"{missing} of {expected} studies are gone: is it the same archive? In {_DOUBT} that is believed"
            raise ArchiveUnavailable("watch", self.name, reason)

    def close(self) -> None:
        """Ends the thread of this source."""
        self._http.close()

    def _notice(self, uid: str, now: datetime, removed: bool) -> StudyNoticed:
        return StudyNoticed(
            id=identity("noticed", self.name, uid, now.isoformat()),
            time=now,
            study_instance_uid=StudyInstanceUID(uid),
            source=self.name,
            source_position=now.isoformat(),
            removed=removed,
        )

    async def _rows(self, begin: date, end: date) -> Mapping[str, _Row]:
        """All pages: an answer that is not whole would look as if studies were gone."""
        found: dict[str, _Row] = {}
        offset = 0
        while True:
            page, known = await self._page(f"{begin:%Y%m%d}-{end:%Y%m%d}", offset), len(found)
            for study in page:
                uid = text(study, _STUDY_INSTANCE_UID) or ""
                try:
                    found[StudyInstanceUID(uid)] = _row(study)
                except (TypeError, ValueError):
                    _log.warning("a study of the list breaks the standard", source=self.name)
            offset += len(page)
            if len(found) == known:  # no page, or one that came before
                return found

    async def _page(self, dates: str, offset: int) -> list[dict[str, Any]]:
        params = [("StudyDate", dates), ("limit", str(_PAGE)), ("offset", str(offset)), *(("includefield", tag) for tag in _FIELDS)]
        try:
            answer = await self._http.exchange(
                "GET",
                "/studies",
                step="watch",
                reference=self.name,
                accept=MEDIA_TYPE,
                params=params,
                accepted_statuses=frozenset({200, 204}),
            )
            return objects(answer, "watch", self.name) if answer.status == 200 else []
        except (ItemNotServed, InvalidResource, StudyIncomplete, ResourceRefused) as error:  # no single study's fault
            raise ArchiveUnavailable("watch", self.name, error.reason) from None


def _taken_away(before: _Row | None, row: _Row) -> bool:
    return before is not None and (row.count < before.count or row.whose != before.whose)


def _row(study: dict[str, Any]) -> _Row:
    numbers = [text(study, tag) or "" for tag in (_ACCESSION_NUMBER, _PATIENT_ID, _ISSUER_OF_PATIENT_ID)]
    digest = hashlib.sha256(json.dumps(numbers).encode("utf-8")).hexdigest()[:16]
    return _Row(text(study, _STUDY_DATE) or "", int(first(study, _NUMBER_OF_STUDY_RELATED_INSTANCES)), digest)


def _read(position: str | None) -> dict[str, _Row]:
    return {uid: _Row(*row) for uid, row in json.loads(position or "{}").items()}


def _written(rows: Mapping[str, _Row]) -> str:
    return json.dumps({uid: [row.day, row.count, row.whose] for uid, row in sorted(rows.items())}, separators=(",", ":"))
