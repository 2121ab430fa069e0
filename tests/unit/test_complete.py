"""A notice is a reason to count: complete for a stated reason, never by guessing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid5

import pytest
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from schemas.case_store import StudyState
from schemas.errors import MalformedMessage, StudyIncomplete
from schemas.identifiers import NAMESPACE, AccessionNumber, SOPInstanceUID, StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import StudyCompleted, revision_of
from streams.case_state import current
from streams.due import ATTEMPTS, unparked
from streams.emission import emit
from streams.steps.complete import MOST_STUDIES, PATIENCE, complete
from streams.topics import NOTICES, STUDIES
from tests.contract.example_images import part10, radiograph, structured_report, study_of, uid_of
from tests.contract.fake_study_archive import FakeStudyArchive

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
QUIET = timedelta(seconds=5)


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield store
    await store.close()


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


@pytest.fixture
def counting(cases: SqlCaseStore) -> Counting:
    return Counting(cases)


def notice(study: StudyInstanceUID | None = None, **said: Any) -> StudyNoticed:
    return StudyNoticed(id=uuid5(NAMESPACE, f"{study} {said}"), time=NOON, source="test", study_instance_uid=study, **said)


def completed(outs: list[Outgoing]) -> StudyCompleted:
    (out,) = outs
    assert (out.topic, out.key) == (STUDIES.name, out.key)
    event = StudyCompleted.model_validate_json(out.value)
    assert out.key == event.study_instance_uid.encode()
    return event


async def test_settled_is_complete_at_once(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image), part10(structured_report(image.StudyInstanceUID))])
    event = completed(await counting.tell(notice(study_of(image), settled=True, source_ae_title="CR1")))
    assert [one.sop_instance_uid for one in event.images] == [uid_of(image)]
    assert event.revision == revision_of(event.images)
    assert (event.source, event.source_ae_title, event.instance_count, event.promised_count) == ("test", "CR1", 2, None)


async def test_unsettled_is_complete_when_nothing_more_came(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    assert await counting.tell(notice(study_of(image))) == []
    assert len(completed(await counting.run(await counting.quiet_over())).images) == 1


async def test_what_grows_is_counted_again(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    assert await counting.tell(notice(study_of(image))) == []
    await counting.archive.store([part10(radiograph(StudyInstanceUID=image.StudyInstanceUID))])
    assert await counting.run(await counting.quiet_over()) == []
    assert len(completed(await counting.run(await counting.quiet_over())).images) == 2


async def test_a_repeated_notice_sets_one_timer(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    assert await counting.tell(notice(study_of(image))) == []
    assert await counting.tell(notice(study_of(image))) == []
    await counting.quiet_over()  # asserts that it is one


async def test_an_archive_that_tells_of_each_image_has_the_study_told_twice_at_most(
    counting: Counting, cases: SqlCaseStore
) -> None:
    """Else each event holds all images, and who reads them all for each new one keeps everybody else waiting."""
    image = radiograph()
    study = study_of(image)
    for n in range(20):
        await counting.archive.store([part10(radiograph(StudyInstanceUID=image.StudyInstanceUID))])
        assert await counting.tell(notice(study, source_position=str(n)), at=NOON + n * QUIET / 20) == []
    told, at = [], NOON
    while waiting := await cases.due_before(NOON + timedelta(days=1)):
        at += 2 * QUIET
        for due in waiting:
            assert due.record is not None
            await cases.remove_due(due.id)
            told += await counting.run(unparked(due, due.record), at=at)
    assert [len(completed([one]).images) for one in told] in ([20], [20, 20]), "the last notice's own count, and that of all others"


async def test_what_is_said_again_and_again_puts_off_nothing(counting: Counting, cases: SqlCaseStore) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    for n in range(8):
        assert await counting.tell(notice(study_of(image), source_position=str(n)), at=NOON + n * QUIET / 2) == []
    assert len(await cases.due_before(NOON + 2 * QUIET)) == 1


async def test_named_instances_must_all_be_there(counting: Counting) -> None:
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    await counting.archive.store([part10(first)])
    told = notice(study_of(first), instances=(uid_of(first), uid_of(second)))
    with pytest.raises(StudyIncomplete, match="1 instances are not"):
        await counting.tell(told)
    await counting.archive.store([part10(second)])
    event = completed(await counting.tell(told))
    assert (event.instance_count, event.promised_count) == (2, 2)


async def test_a_promise_is_not_waited_for_for_ever(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    told = notice(study_of(image), instances=(uid_of(image), SOPInstanceUID("1.2.3")))
    with pytest.raises(StudyIncomplete):
        await counting.tell(told, attempts=PATIENCE - 1)
    event = completed(await counting.tell(told, attempts=PATIENCE))
    assert (event.instance_count, event.promised_count) == (1, 2)


async def test_a_promised_number_is_counted(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    with pytest.raises(StudyIncomplete, match="2 instances are not"):
        await counting.tell(notice(study_of(image), instance_count=3))


async def test_a_study_that_is_not_there_yet_is_waited_for(counting: Counting) -> None:
    with pytest.raises(StudyIncomplete):
        await counting.tell(notice(StudyInstanceUID("1.2.9")))


async def test_a_study_that_is_gone_has_no_images(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    before = completed(await counting.tell(notice(study_of(image), settled=True)))
    counting.archive.forget(study_of(image))
    with pytest.raises(StudyIncomplete):  # not by what the archive does not say alone
        await counting.tell(notice(study_of(image), settled=True))
    event = completed(await counting.tell(notice(study_of(image), removed=True)))
    assert (event.images, event.instance_count) == ((), 0)
    assert event.id != before.id


async def test_an_image_that_was_taken_away_needs_no_quiet_time(counting: Counting) -> None:
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    await counting.archive.store([part10(first), part10(second)])
    counting.archive.forget(study_of(first), uid_of(second))
    event = completed(await counting.tell(notice(study_of(first), removed=True)))
    assert [one.sop_instance_uid for one in event.images] == [uid_of(first)]


async def test_what_was_taken_away_does_not_wait_for_what_was_promised(counting: Counting) -> None:
    """An Instance Availability Notification may say both: the promise is waited for by a notice of its own."""
    first, second = radiograph(), SOPInstanceUID("1.2.3")
    await counting.archive.store([part10(first)])
    told, waiting = await counting.tell(notice(study_of(first), removed=True, instances=(uid_of(first), second)))
    assert completed([told]).instance_count == 1
    assert waiting.topic == NOTICES.name
    with pytest.raises(StudyIncomplete):
        await counting.run(waiting)
    assert completed(await counting.run(waiting, attempts=PATIENCE)).promised_count == 2
    counting.archive.forget(study_of(first))
    assert await counting.run(waiting, attempts=PATIENCE) == []


async def test_a_notice_that_waited_tells_more_than_a_later_one_that_did_not(counting: Counting) -> None:
    """Both of one source: the promise of the first is kept after the second was told."""
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    await counting.archive.store([part10(first)])
    promise = notice(study_of(first), instances=(uid_of(first), uid_of(second)))
    with pytest.raises(StudyIncomplete):
        await counting.tell(promise)
    later = notice(study_of(first), settled=True).model_copy(update={"time": NOON + timedelta(seconds=5)})
    one = completed(await counting.tell(later))
    await counting.archive.store([part10(second)])
    two = completed(await counting.tell(promise, attempts=1, at=NOON + timedelta(seconds=9)))
    assert len(current(StudyState((one, two))).images) == 2


async def test_nor_one_that_was_quiet_for_longer(counting: Counting) -> None:
    first = radiograph()
    second = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    await counting.archive.store([part10(first)])
    assert await counting.tell(notice(study_of(first))) == []
    again = await counting.quiet_over()
    later = notice(study_of(first), settled=True).model_copy(update={"time": NOON + timedelta(seconds=3)})
    one = completed(await counting.tell(later))
    await counting.archive.store([part10(second)])
    assert await counting.run(again, at=NOON + QUIET) == []
    last = await counting.quiet_over(after=NOON + QUIET)
    two = completed(await counting.run(last, at=NOON + 2 * QUIET))
    assert len(current(StudyState((one, two))).images) == 2


async def test_an_accession_number_becomes_a_notice_for_each_study(counting: Counting) -> None:
    images = [radiograph(AccessionNumber="A7"), radiograph(AccessionNumber="A7"), radiograph(AccessionNumber="A8")]
    await counting.archive.store([part10(image) for image in images])
    outs = await counting.tell(notice(accession_number=AccessionNumber(value="A7", assigner="SITE"), settled=True))
    assert [out.topic for out in outs] == [NOTICES.name] * 2
    assert [out.key for out in outs] == sorted(study_of(image).encode() for image in images[:2])
    assert {completed(await counting.run(out)).study_instance_uid for out in outs} == {study_of(image) for image in images[:2]}


async def test_instances_of_several_studies_are_promised_by_none(counting: Counting) -> None:
    images = [radiograph(AccessionNumber="A7"), radiograph(AccessionNumber="A7")]
    await counting.archive.store([part10(image) for image in images])
    number = AccessionNumber(value="A7", assigner="SITE")
    outs = await counting.tell(notice(accession_number=number, instances=tuple(map(uid_of, images)), instance_count=2))
    assert len(outs) == 2
    for out in outs:
        assert await counting.run(out) == [], "counted after its quiet time"


async def test_what_stands_for_no_accession_number_names_no_study(counting: Counting) -> None:
    """Else every message with it has all of them counted."""
    await counting.archive.store([part10(radiograph(AccessionNumber="NONE")) for _ in range(MOST_STUDIES + 1)])
    with pytest.raises(MalformedMessage, match="names none"):
        await counting.tell(notice(accession_number=AccessionNumber(value="NONE", assigner="SITE"), hint=True))


async def test_an_accession_number_without_a_study_is_waited_for(counting: Counting) -> None:
    with pytest.raises(StudyIncomplete):
        await counting.tell(notice(accession_number=AccessionNumber(value="A9", assigner="SITE")))


@pytest.mark.parametrize(
    "named", [{"study": StudyInstanceUID("1.2.9")}, {"accession_number": AccessionNumber(value="A9", assigner="SITE")}]
)
async def test_a_hint_of_a_study_that_never_comes_is_given_up(counting: Counting, named: dict[str, Any]) -> None:
    """Quietly: a procedure without images is no fault. Whoever said that there are images is waited for, and at last a dead
    letter (of the guard)."""
    with pytest.raises(StudyIncomplete):
        await counting.tell(notice(**named, hint=True), attempts=PATIENCE - 1)
    with capture_logs() as logs:
        assert await counting.tell(notice(**named, hint=True), attempts=PATIENCE) == []
    assert logs == [{"event": "no study came", "log_level": "info", "source": "test", "place": f"{NOTICES.name}/0/1"}]
    with pytest.raises(StudyIncomplete):
        await counting.tell(notice(**named), attempts=PATIENCE)


async def test_a_hint_is_counted_twice(counting: Counting) -> None:
    image = radiograph(AccessionNumber="A7")
    await counting.archive.store([part10(image)])
    (told,) = await counting.tell(notice(accession_number=AccessionNumber(value="A7", assigner="SITE"), hint=True))
    assert StudyNoticed.model_validate_json(told.value).hint
    assert await counting.run(told) == []
    assert len(completed(await counting.run(await counting.quiet_over())).images) == 1


async def test_what_is_no_notice_is_refused(counting: Counting) -> None:
    with pytest.raises(MalformedMessage):
        await counting.run(Outgoing(NOTICES.name, b"k", b"{}"))


async def test_a_corrected_patient_is_another_event(counting: Counting) -> None:
    image = radiograph()
    await counting.archive.store([part10(image)])
    before = completed(await counting.tell(notice(study_of(image), settled=True)))
    image.PatientID = "OTHER"
    await counting.archive.store([part10(image)])
    after = completed(await counting.tell(notice(study_of(image), settled=True)))
    assert after.patient is not None and after.patient.value == "OTHER"
    assert after.id != before.id and after.revision == before.revision


def test_a_notice_names_something() -> None:
    with pytest.raises(ValueError, match="names a study"):
        notice()
