"""What a notice promises is waited for, and not for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from schemas.case_store import StudyState
from schemas.errors import StudyIncomplete
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from streams.case_state import current
from streams.steps.complete import PATIENCE
from streams.topics import NOTICES
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.unit.counting import NOON, QUIET, Counting, completed, notice


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
