"""A notice is a reason to count: complete for a stated reason, never by guessing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import MalformedMessage, StudyIncomplete
from schemas.ports import Outgoing
from schemas.study_events import revision_of
from streams.due import unparked
from streams.topics import NOTICES
from tests.contract.example_images import part10, radiograph, structured_report, study_of, uid_of
from tests.unit.counting import NOON, QUIET, Counting, completed, notice


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
