"""A modality's procedure step naming two images, one of which reaches a real Orthanc later, real Kafka: one StudyCompleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.case_store import SqlCaseStore
from connectors.dimse.receiver import DicomReceiver
from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from schemas.errors import StudyIncomplete
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Record
from schemas.study_events import StudyCompleted
from schemas.study_ports import RefusedChange
from streams.clock import SystemClock
from streams.due import run_sweeper
from streams.emission import emit
from streams.guard import Guard
from streams.runner_window import WindowRunner
from streams.steps.complete import complete
from streams.topics import Topic
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.contract.orthanc_archive import orthanc_archive
from tests.unit.dimse_peer import MPPS, Caller, change, step

pytestmark = pytest.mark.service
DEADLINE_S = 60
UID = "1.2.840.1"


async def test_a_step_is_complete_when_its_last_image_is_there(kafka_bootstrap: str, orthanc_url: str, tmp_path: Path) -> None:
    noticed, studies = Topic(f"imaging.notices.{uuid4()}"), Topic(f"imaging.studies.{uuid4()}", partitions=1)
    await asyncio.to_thread(ensure_topics, kafka_bootstrap, [TopicSpec(t.name, t.partitions, t.config) for t in (noticed, studies)])
    first = radiograph(AccessionNumber="MPPS-1")
    later = radiograph(StudyInstanceUID=first.StudyInstanceUID)
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    stop, ready, incomplete = asyncio.Event(), asyncio.Event(), asyncio.Event()
    clock = SystemClock()
    archive = orthanc_archive(orthanc_url)

    async def refuse(change: RefusedChange) -> None:
        raise AssertionError(change.error)

    async with KafkaLog(kafka_bootstrap) as log:
        with closing(archive):

            async def tell(notices: Sequence[StudyNoticed]) -> None:
                await log.append([emit(noticed, notice.key, notice, None) for notice in notices])

            async def count(record: Record) -> Sequence[Outgoing]:
                try:
                    outs = await complete(record, archive=archive, cases=cases, quiet=timedelta(seconds=1))
                except StudyIncomplete:
                    incomplete.set()
                    raise
                return [replace(out, topic=studies.name) for out in outs]

            receiver = DicomReceiver(cases, refuse, clock, default_accession_assigner="SITE", port=0)
            guard = Guard("complete", count, log, cases, clock, stop)
            runner = WindowRunner(kafka_bootstrap, f"complete-{uuid4()}")
            await archive.store([part10(first)])
            try:
                async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
                    tasks.create_task(receiver.listen(tell, stop, ready.set))
                    tasks.create_task(runner.run([noticed.name], guard, stop))
                    tasks.create_task(run_sweeper(cases, log, clock, {}, stop=stop, interval=timedelta(seconds=0.2)))
                    await ready.wait()
                    caller = Caller(receiver.port)
                    assert (await caller.create(MPPS, UID, step(study_of(first)))).Status == 0
                    done = change(one=[uid_of(first), uid_of(later)])
                    for _ in range(2):
                        assert (await caller.set(UID, done)).Status == 0
                    await incomplete.wait()
                    assert [record async for record in log.read(studies.name)] == [], "one image is not there yet"
                    await archive.store([part10(later)])
                    record = await anext(aiter(log.read(studies.name, follow=True)))
                    stop.set()
                told = [record async for record in log.read(studies.name)]
            finally:
                await cases.close()
    assert len(told) == 1
    event = StudyCompleted.model_validate_json(record.value)
    assert {one.sop_instance_uid for one in event.images} == {uid_of(first), uid_of(later)}
    assert (event.source, event.source_ae_title, event.source_position) == ("dicom:mpps", "CR1", UID)
    assert (event.instance_count, event.promised_count) == (2, 2)
