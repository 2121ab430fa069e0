"""Notices that name no study but its accession number, and those that are a hint only."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.errors import MalformedMessage, StudyIncomplete
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.notices import StudyNoticed
from streams.steps.complete import MOST_STUDIES, PATIENCE
from streams.topics import NOTICES
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.unit.counting import Counting, completed, notice


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
