"""A notice, and the step `complete` on an archive in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid5

from connectors.case_store import SqlCaseStore
from schemas.identifiers import NAMESPACE, StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import StudyCompleted
from streams.due import ATTEMPTS, unparked
from streams.emission import emit
from streams.steps.complete import complete
from streams.topics import NOTICES, STUDIES
from tests.contract.fake_study_archive import FakeStudyArchive

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
QUIET = timedelta(seconds=5)


class Counting:
    """The step on an archive in memory."""

    def __init__(self, cases: SqlCaseStore) -> None:
        self.archive = FakeStudyArchive()
        self._cases = cases

    async def tell(self, notice: StudyNoticed, *, attempts: int = 0, at: datetime = NOON) -> list[Outgoing]:
        return await self.run(emit(NOTICES, notice.key, notice, None), attempts=attempts, at=at)

    async def run(self, out: Outgoing, *, attempts: int = 0, at: datetime = NOON) -> list[Outgoing]:
        headers = (*out.headers, *(((ATTEMPTS, str(attempts).encode()),) if attempts else ()))
        record = Record(Place(NOTICES.name, 0, 1), out.key, out.value, headers, at)
        return list(await complete(record, archive=self.archive, cases=self._cases, quiet=QUIET))

    async def quiet_over(self, after: datetime = NOON) -> Outgoing:
        """The one timer, which is not due a moment before its time."""
        assert not await self._cases.due_before(after + QUIET - timedelta(microseconds=1))
        (due,) = await self._cases.due_before(after + QUIET)
        assert due.record is not None
        await self._cases.remove_due(due.id)
        return unparked(due, due.record)


def notice(study: StudyInstanceUID | None = None, **said: Any) -> StudyNoticed:
    return StudyNoticed(id=uuid5(NAMESPACE, f"{study} {said}"), time=NOON, source="test", study_instance_uid=study, **said)


def completed(outs: list[Outgoing]) -> StudyCompleted:
    (out,) = outs
    assert (out.topic, out.key) == (STUDIES.name, out.key)
    event = StudyCompleted.model_validate_json(out.value)
    assert out.key == event.study_instance_uid.encode()
    return event
