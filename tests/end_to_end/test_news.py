"""What is no news is analysed and told to nobody; what gets no answer in time is told as late, and the answer replaces that."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pydicom
import pytest
from aiokafka.partitioner import murmur2

from connectors.case_store import SqlCaseStore
from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.late import DEADLINE
from streams.sequences import LATE, next_after
from streams.wiring.clients import case_store_for
from tests.end_to_end.conftest import AGE_LIMIT_DAYS, Hospital
from tests.unit.cases import reason

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]


@asynccontextmanager
async def cases_of(hospital: Hospital) -> AsyncIterator[SqlCaseStore]:
    cases = case_store_for(hospital.engine.settings)
    try:
        yield cases
    finally:
        await cases.close()


def chest(accession: str) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(copy_of(CHEST, accession_number=accession, patient_id="P-1")))


def file_of(dataset: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


async def test_an_old_study_is_analysed_for_ourselves_only(hospital: Hospital) -> None:
    study, film = study_uid_of("E2E-OLD"), chest("E2E-OLD")
    film.StudyDate = f"{datetime.now(UTC) - timedelta(days=AGE_LIMIT_DAYS + 2):%Y%m%d}"
    await hospital.order("E2E-OLD")
    await hospital.archive.store([file_of(film)])
    (record, *_) = await hospital.until("a result", lambda _: hospital.of(topics.RESULTS, study))
    result = Findings.model_validate_json(record.value)
    assert result.findings, "it is analysed as others are"
    assert not result.subject.outward

    # one that stands behind it in the same partition: what is to be told of the old one would have been told by then
    def partition_of(accession: str) -> int:
        return int(murmur2(study_uid_of(accession).encode()) & 0x7FFFFFFF) % topics.RESULTS.partitions

    names = (f"E2E-AFTER-OLD-{number}" for number in count())
    behind = next(name for name in names if partition_of(name) == record.place.partition)
    await hospital.order(behind)
    await hospital.archive.store([file_of(chest(behind))])
    await hospital.delivered(study_uid_of(behind))
    assert hospital.of(topics.RESULTS, study_uid_of(behind))[-1].place.partition == record.place.partition
    assert hospital.of(topics.REQUESTS_BULK, study)
    for topic in (topics.REQUESTS, topics.FINDINGS, topics.DELIVERIES):
        assert not hospital.of(topic, study), topic.name
    assert await hospital.fhir.search_reports("E2E-OLD") == []

    async with asyncio.timeout(30), cases_of(hospital) as cases:
        while not any(entry.place == record.place for entry in await cases.timeline("E2E-OLD")):
            await asyncio.sleep(0.1)  # the view is written beside the walk: a store is asked, there is no event to await
        said = {entry.place.topic: entry.what for entry in await cases.timeline("E2E-OLD")}
    assert said[topics.STUDIES.name].endswith("days old")
    assert said[topics.RESULTS.name].endswith("for ourselves only")


@contextmanager
def nobody_analyses(hospital: Hospital) -> Iterator[None]:
    """The process stands still, as on a machine that is overloaded; afterwards it goes on."""
    process = hospital.engine.supervisor.processes["work analyse"]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def the_deadline_comes(hospital: Hospital, study: StudyInstanceUID) -> None:
    """Its timer is put forward; the engine's own sweeper finds it."""
    async with cases_of(hospital) as cases:
        timers = await cases.due_before(datetime.now(UTC) + timedelta(days=1), 1000)
        (timer,) = (timer for timer in timers if (timer.reason, timer.case) == (DEADLINE, study))
        await cases.put_due(replace(timer, not_before=datetime.now(UTC)))


async def test_no_answer_in_time_is_told_and_the_answer_replaces_it(hospital: Hospital) -> None:
    study = study_uid_of("E2E-LATE")
    with nobody_analyses(hospital):
        await hospital.order("E2E-LATE")
        await hospital.archive.store([file_of(chest("E2E-LATE"))])
        await hospital.until("the request", lambda _: hospital.of(topics.REQUESTS, study))
        await the_deadline_comes(hospital, study)
        late = await hospital.delivered(study)
        report = await hospital.report("E2E-LATE")
        assert (report["status"], late["sequence"]) == ("cancelled", next_after(0) + LATE)
        assert "no answer came within the time limit" in report["conclusion"]
    await hospital.delivered(study, late["sequence"] + 1)
    after = await hospital.report("E2E-LATE")
    assert after["id"] == report["id"]
    assert (after["status"], after["meta"]["versionId"]) == ("partial", "2")
    (root,) = report["result"]
    superseded = await hospital.fhir.read(root["reference"])
    assert superseded is not None
    assert superseded["status"] == "entered-in-error"
    results = [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]
    assert [reason(one) for one in results] == [NotAnalysedReason.LATE, None]


async def test_a_request_that_ended_as_a_dead_letter_is_told_as_late(hospital: Hospital) -> None:
    study, film = study_uid_of("E2E-DEAD"), chest("E2E-DEAD")
    film.PixelData = film.PixelData[:100_000]
    await hospital.order("E2E-DEAD")
    await hospital.archive.store([file_of(film)])
    dead = topics.DEAD_LETTERS
    await hospital.until("the dead letter", lambda _: [r for r in hospital.of(dead, study) if r.header("step") == "analyse"])
    await the_deadline_comes(hospital, study)
    await hospital.delivered(study)
    report = await hospital.report("E2E-DEAD")
    assert report["status"] == "cancelled"
    assert "no answer came within the time limit" in report["conclusion"]


async def test_an_answer_in_time_leaves_no_timer(hospital: Hospital) -> None:
    study = study_uid_of("E2E-IN-TIME")
    await hospital.order("E2E-IN-TIME")
    async with asyncio.timeout(60), cases_of(hospital) as cases:

        async def waits() -> bool:
            return any(timer.case == study for timer in await cases.due_before(datetime.now(UTC) + timedelta(days=1), 1000))

        with nobody_analyses(hospital):
            await hospital.archive.store([file_of(chest("E2E-IN-TIME"))])
            await hospital.until("the request", lambda _: hospital.of(topics.REQUESTS, study))
            assert await waits(), "the request has its deadline"
        await hospital.delivered(study)
        while await waits():
            await asyncio.sleep(0.1)  # correlate reads the answer beside those who tell it
    assert [reason(Findings.model_validate_json(record.value)) for record in hospital.of(topics.RESULTS, study)] == [None]
