"""What the event says of what the archive holds: the date, what was rejected, and who sent it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid5

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import ArchiveUnavailable
from schemas.identifiers import NAMESPACE, StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import StudyCompleted
from schemas.study_ports import StudyOrigin
from streams.emission import emit
from streams.steps.complete import complete
from streams.topics import NOTICES
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.contract.example_key_objects import REJECTED_FOR_QUALITY, key_object
from tests.contract.fake_study_archive import FakeStudyArchive

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
IMAGE = radiograph()
STUDY = study_of(IMAGE)


class Origin:
    """An archive that names `ae_title`, or raises it."""

    def __init__(self, ae_title: str | Exception | None) -> None:
        self._ae_title = ae_title
        self.asked: list[StudyInstanceUID] = []

    async def sent_by(self, study: StudyInstanceUID) -> str | None:
        self.asked.append(study)
        if isinstance(self._ae_title, Exception):
            raise self._ae_title
        return self._ae_title


@pytest.fixture
async def archive() -> FakeStudyArchive:
    archive = FakeStudyArchive()
    await archive.store([part10(IMAGE)])
    return archive


@pytest.fixture
def tell(archive: FakeStudyArchive, cases: SqlCaseStore) -> Any:
    async def tell(origin: StudyOrigin | None = None, **said: Any) -> StudyCompleted | None:
        notice = StudyNoticed(id=uuid5(NAMESPACE, str(said)), time=NOON, source="test", study_instance_uid=STUDY, **said)
        out: Outgoing = emit(NOTICES, notice.key, notice, None)
        record = Record(Place(NOTICES.name, 0, 1), out.key, out.value, out.headers, NOON)
        outs = await complete(record, archive=archive, cases=cases, quiet=timedelta(seconds=5), origin=origin)
        return StudyCompleted.model_validate_json(outs[0].value) if outs else None

    return tell


async def test_the_date_of_the_study(tell: Any) -> None:
    assert (await tell(settled=True)).study_date == date(2026, 1, 1)


async def test_what_is_rejected_is_counted_and_waits_for_no_quiet_time(tell: Any, archive: FakeStudyArchive) -> None:
    """A finding may stand on the wrong patient meanwhile."""
    assert await tell() is None
    second = radiograph(StudyInstanceUID=STUDY)
    await archive.store([part10(second), part10(key_object(REJECTED_FOR_QUALITY, [IMAGE], study=STUDY))])
    event = await tell(source_position="2")
    assert [image.sop_instance_uid for image in event.images] == [uid_of(second)]
    assert (event.instance_count, event.rejected_count, event.gone) == (3, 1, False)


async def test_the_archive_is_asked_who_sent_it(tell: Any) -> None:
    origin = Origin("CR_ROOM1")
    assert (await tell(origin, settled=True)).source_ae_title == "CR_ROOM1"
    assert origin.asked == [STUDY]
    assert (await tell(Origin(None), settled=True)).source_ae_title is None


async def test_not_where_the_notice_says_it(tell: Any) -> None:
    origin = Origin("OTHER")
    assert (await tell(origin, settled=True, source_ae_title="CR_ROOM1")).source_ae_title == "CR_ROOM1"
    assert origin.asked == []


async def test_nor_before_the_study_is_complete_nor_when_it_is_gone(tell: Any, archive: FakeStudyArchive) -> None:
    origin = Origin("OTHER")
    assert await tell(origin) is None
    archive.forget(STUDY)
    assert (await tell(origin, removed=True)).gone
    assert origin.asked == []


async def test_an_archive_that_is_away_is_waited_for(tell: Any) -> None:
    """Who sent it decides whether anybody is told: it is not guessed."""
    with pytest.raises(ArchiveUnavailable):
        await tell(Origin(ArchiveUnavailable("complete", "origin", "away")), settled=True)
