"""What a replay said is published on a real Kafka and a real FHIR server: the report there is the new one, once; after verification
it says so; and a recall withdraws it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.acts import ReplayPublished
from schemas.discrepancies import DiscrepancyOpened
from schemas.events import ReportSigned
from schemas.findings import Findings
from schemas.history import Span
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Record
from streams import topics
from streams.emission import emit, emit_findings
from streams.promotion.recalling import Decision, run_recall
from streams.replay.changes import Tolerance
from streams.replay.diffing import read_diff
from streams.replay.manifest import Manifest, ReplayFolder
from streams.replay.outbox import sandbox_of
from streams.replay.plan import Part, Plan
from streams.replay.publish import run_publish
from streams.replay.publishing import Approval
from streams.replay.selection import Selection
from streams.sequences import AFTER_VERIFICATION, PUBLISHED, RECALLED, next_after
from streams.services import LocalServices
from streams.steps.report import report as report_step
from streams.wiring.shadows import ensure_sandbox
from tests.contract.example_findings import SITE
from tests.service.answering_engine import Engine, running_engine
from tests.unit.analyses import using
from tests.unit.cases import report
from tests.unit.packages import OWN, model

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

NAME, OTHER = "last-week", "nodules/2"
WHO = Approval("Dr B", "version 2 sees no second nodule where there is none")
ANSWER = next_after(0)
NEW = ANSWER + PUBLISHED


@pytest.fixture
async def engine(kafka_apart: LocalServices, fhir_url: str, tmp_path: Path) -> AsyncIterator[Engine]:
    async with running_engine(kafka_apart.kafka_bootstrap, fhir_url, tmp_path) as engine:
        yield engine


async def replayed(engine: Engine, studies: list[StudyInstanceUID]) -> None:
    """A replay that is done: another model answered the same requests, and found the first nodule alone."""
    await asyncio.to_thread(ensure_sandbox, engine.settings, sandbox_of(NAME))
    spans = [Span(topics.REQUESTS.name, partition, 0, 10**6) for partition in range(topics.REQUESTS.partitions)]
    part = Part(topic=topics.REQUESTS.name, spans=tuple(spans), records=len(studies), bytes=1)
    ReplayFolder(engine.settings, NAME).create(
        Manifest(
            name=NAME,
            by="Dr A",
            reason="before going live",
            planned_at=datetime.now(UTC),
            plan=Plan(selection=Selection(places=tuple(map(str, spans))), parts=(part,), studies=tuple(sorted(studies))),
            settings_sha256="0" * 64,
            state="done",
        )
    )
    async for record in engine.log.read(topics.RESULTS.name):
        out = _otherwise(record)
        reports = await report_step(Record(record.place, out.key, out.value, out.headers, record.timestamp), site=SITE)
        own = [replace(one, topic=sandbox_of(NAME).own(topics.FINDINGS).name) for one in reports]
        await engine.log.append([replace(out, topic=sandbox_of(NAME).results.name), *own])


def _otherwise(record: Record) -> Outgoing:
    said = Findings.model_validate_json(record.value)
    other = said.model_copy(update={"model": model(OTHER).identity, "findings": said.findings[:1]})
    return emit_findings(other, record)


async def test_what_a_replay_said_is_told_once_marked_and_withdrawn_by_a_recall(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    async with engine.analysing(using(model(OWN))):
        ordinary, number = await engine.ordered()
        verified, signed = await engine.ordered()
        before = await engine.delivered(ordinary, ANSWER, number)
        await engine.delivered(verified, ANSWER, signed)
    assert "2 nodules" in before["conclusion"]
    await replayed(engine, [ordinary, verified])
    signature = report(ReportSigned, accession=signed).model_copy(update={"time": datetime.now(UTC)})
    await engine.log.append([emit(topics.REPORTS, signed, signature, None)])

    diff = (await read_diff(engine.settings, NAME, None, Tolerance())).diff
    assert {one.study_instance_uid: diff.counts for one in diff.changed} == {
        uid: {"vanished": 2, "text": 2} for uid in (ordinary, verified)
    }

    said = await published(engine)
    assert said[-2:] == [
        "2 published, 0 refused, 0 to which nothing was to be done.",
        "Receivers are told by `deliver`: radstream tail radstream.deliveries.",
    ]
    after = await engine.delivered(ordinary, NEW, number)
    assert (after["id"], after["status"]) == (before["id"], "partial")
    assert "1 nodule of the lung" in after["conclusion"]
    marked = await engine.delivered(verified, NEW + AFTER_VERIFICATION, signed)
    assert marked["conclusion"].startswith("After verification:") and "1 nodule of the lung" in marked["conclusion"]
    (opened,) = [r async for r in engine.log.read(topics.DISCREPANCIES.name) if r.header("ce_type") == DiscrepancyOpened.TYPE]
    assert DiscrepancyOpened.model_validate_json(opened.value).study_instance_uid == verified

    results = await all_results(engine)
    assert (await published(engine))[-1] == "0 published, 0 refused, 2 to which nothing was to be done."
    assert await all_results(engine) == results
    assert await engine.delivered(ordinary, NEW, number) == after, "not even another version of it"
    audited = [r async for r in engine.log.read(topics.AUDIT.name) if r.header("ce_type") == ReplayPublished.TYPE]
    acts = [ReplayPublished.model_validate_json(record.value) for record in audited]
    expected = dict.fromkeys((ordinary, verified), (WHO.by, NEW, ANSWER))
    assert {act.study_instance_uid: (act.by, act.sequence, act.replaced) for act in acts} == expected

    lines: list[str] = []
    decision = Decision("Dr C", "it misses the second one")
    assert await run_recall(engine.settings, "nodules", "2", decision, as_json=False, wait_s=60, say=lines.append)
    assert lines[-1].startswith("Nothing stands any more: 2 withdrawn.")
    for uid, accession in ((ordinary, number), (verified, signed)):
        withdrawn = await engine.delivered(uid, NEW + RECALLED, accession)
        assert (withdrawn["id"] == before["id"], withdrawn["status"]) == (uid == ordinary, "cancelled")

    capsys.readouterr()
    assert await run_publish(engine.settings, NAME, frozenset([ordinary]), WHO, Tolerance(), say=lambda _: None, as_json=True)
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["published"], told["nothing"]) == (False, "was published before")


async def published(engine: Engine) -> list[str]:
    lines: list[str] = []
    assert await run_publish(engine.settings, NAME, None, WHO, Tolerance(), say=lines.append, as_json=False)
    return lines


async def all_results(engine: Engine) -> int:
    return len([record async for record in engine.log.read(topics.RESULTS.name)])
