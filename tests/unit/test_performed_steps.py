"""Steps of modalities that promise more than a step can have: what is kept of them stays small."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from connectors.dimse import receiver
from connectors.dimse.answers import NO_LONGER, SUCCESS, TOO_MANY
from connectors.dimse.performed_procedure_step import Change, PerformedStep, ScheduledStudy, Status
from connectors.dimse.performed_steps import PerformedSteps
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID
from schemas.notices import StudyNoticed
from streams.emission import emit
from streams.topics import DEAD_LETTERS, NOTICES

STEP = PerformedStep(studies=(ScheduledStudy(study_instance_uid=StudyInstanceUID("1.2.840.99")),), station="CR1")


class _Noon:
    def now(self) -> datetime:
        return datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
async def cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield cases
    await cases.close()


def change(status: Status, series: str, count: int) -> Change:
    """With instances of 63 characters."""
    of_series = 10**15 + sum(map(ord, series))
    return Change(status, {series: tuple(SOPInstanceUID(f"2.25.{10**40 + n}.{of_series}") for n in range(count))})


async def test_steps_that_are_over_are_remembered_without_their_instances(cases: SqlCaseStore) -> None:
    async def tell(_: Sequence[StudyNoticed]) -> None: ...

    steps = PerformedSteps(cases, tell, _Noon())

    async def one(n: int) -> SOPInstanceUID:
        uid = SOPInstanceUID(f"1.2.{n}")
        assert await steps.create(uid, STEP) == SUCCESS
        assert await steps.set(uid, change(Status.COMPLETED, "1.3", 5_000)) == SUCCESS
        return uid

    await one(0)
    tracemalloc.start()
    try:
        last = [await one(n) for n in range(1, 21)][-1]
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 2_000_000, "20 lists are 12 MB"
    assert await steps.set(last, change(Status.COMPLETED, "1.3", 5_000)) == SUCCESS, "its answer was lost"
    assert await steps.set(last, change(Status.COMPLETED, "1.3", 4_999)) == NO_LONGER


async def test_a_step_does_not_grow_without_end(cases: SqlCaseStore) -> None:
    """One message after the other names another series; what it says at its end must fit into a record."""
    told: list[StudyNoticed] = []

    async def tell(notices: Sequence[StudyNoticed]) -> None:
        told.extend(notices)

    steps, uid = PerformedSteps(cases, tell, _Noon()), SOPInstanceUID("1.2.3")
    assert await steps.create(uid, STEP) == SUCCESS
    assert await steps.set(uid, change(Status.IN_PROGRESS, "1", 60_000)) == SUCCESS
    assert await steps.set(uid, change(Status.IN_PROGRESS, "2", 60_000)) == TOO_MANY
    assert await steps.set(uid, change(Status.COMPLETED, "3", 40_000)) == SUCCESS
    (notice,) = told
    assert len(notice.instances) == 100_000
    assert len(emit(NOTICES, notice.key, notice, None).value) < NOTICES.record_limit / 2


def test_what_cannot_be_read_fits_into_a_dead_letter() -> None:
    assert len(base64.b64encode(bytes(receiver._MESSAGE_LIMIT))) + 4096 < DEAD_LETTERS.record_limit
