"""Images stored in a real Orthanc, two posts to the webhook about them, real Kafka: one StudyCompleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from connectors.case_store import SqlCaseStore
from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.pacs.webhook import Webhook
from schemas.identifiers import StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Record
from schemas.study_events import StudyCompleted
from streams.clock import SystemClock
from streams.due import run_sweeper
from streams.emission import emit
from streams.guard import Guard
from streams.runner_window import WindowRunner
from streams.steps.complete import complete
from streams.topics import Topic
from tests.contract.example_images import part10, radiograph, structured_report, study_of, uid_of
from tests.contract.orthanc_archive import orthanc_archive

pytestmark = pytest.mark.service
DEADLINE_S = 60
QUIET = timedelta(seconds=1)


async def _post(port: int, body: dict[str, Any]) -> requests.Response:
    """curl -H 'Authorization: Bearer t0ken' --json BODY http://127.0.0.1:PORT/studies"""
    url, headers = f"http://127.0.0.1:{port}/studies", {"Authorization": "Bearer t0ken"}
    return await asyncio.to_thread(requests.post, url, json=body, headers=headers, timeout=DEADLINE_S)


def _is_post_of(record: Record, study: StudyInstanceUID) -> bool:
    """And not the same notice again, when the study has been counted once."""
    notice = StudyNoticed.model_validate_json(record.value)
    return notice.study_instance_uid == study and notice.counted is None


async def _completed(log: KafkaLog, topic: Topic) -> AsyncIterator[StudyCompleted]:
    async for record in log.read(topic.name, follow=True):
        yield StudyCompleted.model_validate_json(record.value)


async def test_images_stored_and_posted_are_one_complete_study(kafka_bootstrap: str, orthanc_url: str, tmp_path: Path) -> None:
    noticed, studies = Topic(f"imaging.notices.{uuid4()}"), Topic(f"imaging.studies.{uuid4()}", partitions=1)
    await asyncio.to_thread(ensure_topics, kafka_bootstrap, [TopicSpec(t.name, t.partitions, t.config) for t in (noticed, studies)])
    (tmp_path / "token").write_text("t0ken\n")
    image = radiograph(AccessionNumber="WEBHOOK-1")
    second, last = radiograph(StudyInstanceUID=image.StudyInstanceUID), radiograph()
    cases = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    webhook = Webhook(SystemClock(), token_file=tmp_path / "token", default_accession_assigner="SITE", port=0)
    stop, ready = asyncio.Event(), asyncio.Event()

    async with KafkaLog(kafka_bootstrap) as log:
        with closing(orthanc_archive(orthanc_url)) as archive:

            async def tell(notices: Sequence[StudyNoticed]) -> None:
                await log.append([emit(noticed, notice.key, notice, None) for notice in notices])

            async def step(record: Record) -> Sequence[Outgoing]:
                outs = await complete(record, archive=archive, cases=cases, quiet=QUIET)
                return [replace(out, topic=studies.name) for out in outs]

            clock = SystemClock()
            guard = Guard("complete", step, log, cases, clock, stop)
            runner = WindowRunner(kafka_bootstrap, f"complete-{uuid4()}")
            await archive.store([part10(one) for one in (image, second, structured_report(image.StudyInstanceUID), last)])
            try:
                async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
                    tasks.create_task(webhook.listen(tell, stop, ready.set))
                    tasks.create_task(runner.run([noticed.name], guard, stop))
                    tasks.create_task(run_sweeper(cases, log, clock, {}, stop=stop, interval=timedelta(seconds=0.2)))
                    await ready.wait()
                    body = {"study_instance_uid": image.StudyInstanceUID, "source_ae_title": "CR1"}
                    answers = [await _post(webhook.port, body) for _ in range(2)]
                    assert [one.status_code for one in answers] == [202, 202]
                    assert answers[0].json() == answers[1].json()
                    first = await anext(_completed(log, studies))
                    assert (await _post(webhook.port, {"study_instance_uid": last.StudyInstanceUID, "settled": True})).ok
                    ids = set()
                    async for event in _completed(log, studies):
                        ids.add(event.id)
                        if event.study_instance_uid == study_of(last):
                            break
                    stop.set()
                posts = [r.timestamp async for r in log.read(noticed.name) if _is_post_of(r, study_of(image))]
            finally:
                await cases.close()
    assert len(posts) == 2
    # within one quiet time: two posts just before and after its end are counted each for itself
    counts = {at.timestamp() // QUIET.total_seconds() for at in posts}
    assert len(ids) == len(counts) + 1, "a repeat is the same event"
    assert first.study_instance_uid == study_of(image)
    assert {one.sop_instance_uid for one in first.images} == {uid_of(image), uid_of(second)}
    assert (first.source, first.source_ae_title, first.instance_count) == ("webhook", "CR1", 3)
