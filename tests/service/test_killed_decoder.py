"""A file that kills its decoding process, through a window of studies on real Kafka: its request is a dead letter with its
bytes, and every study beside it is analysed."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from connectors import decoding_worker
from connectors.decoding import ProcessDecoder
from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from schemas.findings import Findings, Subject
from schemas.identifiers import SOPInstanceUID, StudyInstanceUID, identity
from schemas.ports import Radiograph
from schemas.study_events import AnalysisRequested, ImageReference, revision_of
from streams import topics
from streams.clock import SystemClock
from streams.emission import emit
from streams.guard import Guard
from streams.runner_window import WindowRunner
from streams.steps.analyse import analyse
from streams.turns import Turns
from tests.contract.example_images import part10, radiograph
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.unit.analyses import KeptInMemory, ScriptedModel, using

pytestmark = pytest.mark.service
KILLER = "the file that kills"


def decode(file: bytes, expected: SOPInstanceUID, pixel_limit: int) -> Radiograph:
    """Runs in the decoding process: a real crash on one file, real decoding of the others."""
    if KILLER.encode() in file:
        os.kill(os.getpid(), signal.SIGSEGV)
    return decoding_worker.decode(file, expected, pixel_limit)


class NothingIsParked:
    async def put_due(self, due: object) -> None:
        raise AssertionError("nothing here is to be parked")


async def request_for(archive: FakeStudyArchive, number: int, **headers: str) -> AnalysisRequested:
    dataset = radiograph(**headers)
    await archive.store([part10(dataset)])
    study = StudyInstanceUID(dataset.StudyInstanceUID)
    images: tuple[ImageReference, ...] = (await archive.describe(study)).images
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    subject = Subject(study_instance_uid=study, revision=revision_of(images), sequence=1, triggered_at=at)
    return AnalysisRequested(id=identity("analysis", study), time=at, subject=subject, images=images)


async def test_the_study_becomes_a_dead_letter_and_the_others_are_analysed(kafka_bootstrap: str) -> None:
    asked = topics.Topic(f"ai.requests.{uuid4()}")  # the engine of the end-to-end tests has requests of its own on this broker
    used = (asked, topics.RESULTS, topics.DEAD_LETTERS)
    await asyncio.to_thread(ensure_topics, kafka_bootstrap, [TopicSpec(t.name, t.partitions, t.config) for t in used])
    archive = FakeStudyArchive()
    headers = [{"ImageComments": KILLER} if number == 2 else {} for number in range(6)]
    requests = [await request_for(archive, number, **one) for number, one in enumerate(headers)]
    decoder = ProcessDecoder(workers=2, timeout_s=30, memory_limit_bytes=2 * 1024**3, pixel_limit=1_000_000, function=decode)
    stop = asyncio.Event()
    try:
        async with KafkaLog(kafka_bootstrap) as log:
            sent = await log.append([emit(asked, r.subject.study_instance_uid, r, None) for r in requests])
            step = partial(
                analyse,
                archive=archive,
                decoder=decoder,
                models=using(ScriptedModel()),
                kept=KeptInMemory(),
                decoding=Turns(),
                predicting=Turns(),
            )
            guard = Guard("analyse", step, log, NothingIsParked(), SystemClock(), stop)
            running = asyncio.create_task(
                WindowRunner(kafka_bootstrap, f"analyse-{uuid4()}", size=3).run([asked.name], guard, stop)
            )
            ours = {str(place) for place in sent}
            async with asyncio.timeout(60):
                letter = await anext(r async for r in log.read(topics.DEAD_LETTERS.name, follow=True) if r.header("cause") in ours)
                answered: set[StudyInstanceUID] = set()
                async for record in log.read(topics.RESULTS.name, follow=True):
                    if record.header("cause") in ours:
                        answered.add(Findings.model_validate_json(record.value).subject.study_instance_uid)
                    if len(answered) == len(requests) - 1:
                        break
            stop.set()
            await running
    finally:
        decoder.close()
    assert letter.value == requests[2].model_dump_json().encode()
    assert (letter.header("step"), letter.header("error")) == ("analyse", "InvalidResource")
    assert answered == {r.subject.study_instance_uid for r in requests} - {requests[2].subject.study_instance_uid}
