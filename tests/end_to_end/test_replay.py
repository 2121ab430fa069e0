"""Cases replayed beside the running engine: what was said live is said again, also after a kill, and nobody outside hears it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.request import urlopen

import pytest

from schemas.acts import ReplayBegun
from schemas.findings import Findings
from streams import topics
from streams.demo.radiographs import CHEST, EXTREMITY, copy_of, study_uid_of
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.live_topics import nothing_is_said
from tests.service.replay_process import Said, replay, said_in

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

FILMS = {"E2E-REPLAY-0": CHEST, "E2E-REPLAY-1": EXTREMITY}
STUDIES = [study_uid_of(accession) for accession in FILMS]


@dataclass(frozen=True)
class Outside:
    """What somebody outside could notice, beside what is said on the live topics."""

    reports: dict[str, str]
    archived: int


async def outside(hospital: Hospital) -> Outside:
    statistics = f"{hospital.engine.services.orthanc_url}/statistics"
    with await asyncio.to_thread(urlopen, statistics) as answer:
        archived = json.load(answer)["CountInstances"]
    versions = {accession: (await hospital.report(accession))["meta"]["versionId"] for accession in FILMS}
    return Outside(versions, archived)


async def replayed(hospital: Hospital, name: str, *more: str, kill_after: int | None = None) -> None:
    settings = hospital.engine.settings
    chosen = [word for accession in FILMS for word in ("--accession", accession)]
    words = ("--run", "--name", name, "--reason", "an end-to-end test", "--by", "Dr E2E", "--rate", "0", *more)
    code, said = await replay(settings, *chosen, *words, kill_after=kill_after)
    if code == -9:
        code, said = await replay(settings, "resume", name, "--rate", "0")
    assert code == 0, said


def findings(said: Said) -> dict[str, Findings]:
    return {(key or b"").decode(): Findings.model_validate_json(value) for key, value, _ in said["sandbox.NAME.ai.results"]}


async def test_twice_and_after_a_kill_the_same_is_said_as_live_and_nothing_happens_outside(hospital: Hospital) -> None:
    for accession, film in FILMS.items():
        await hospital.order(accession)
        await hospital.archive.store([copy_of(film, accession_number=accession, patient_id="P-1")])
    for study in STUDIES:
        await hospital.delivered(study)
    before = await outside(hospital)
    async with nothing_is_said(hospital, STUDIES):
        await replayed(hospital, "e2e-one")
        await replayed(hospital, "e2e-killed", kill_after=1)
    assert await outside(hospital) == before

    one, other = [await said_in(hospital.engine.settings, name) for name in ("e2e-one", "e2e-killed")]
    assert one == other
    assert not one["sandbox.NAME.radstream.dead-letters"]
    in_sandbox = findings(one)
    assert set(in_sandbox) == set(STUDIES)
    for study in STUDIES:
        live = Findings.model_validate_json(hospital.of(topics.RESULTS, study)[-1].value)
        assert in_sandbox[study] == live
        assert any(study.encode() in value for _, value, _ in one["sandbox.NAME.ai.findings"])
    assert in_sandbox[STUDIES[0]].findings
    assert in_sandbox[STUDIES[1]].not_analysed

    acts = [ReplayBegun.model_validate_json(r.value) for r in hospital.of(topics.AUDIT) if r.key == b"replay.e2e-one"]
    assert [(act.outcome, act.by) for act in acts] == [("begun", "Dr E2E"), ("done", "Dr E2E")]
    (model,) = {act.models for act in acts}
    assert model == hospital.engine.settings.models.use

    # the same requests once more, without joining anything anew
    await replayed(hospital, "e2e-asked", "--start", "analyse")
    asked = await said_in(hospital.engine.settings, "e2e-asked")
    assert findings(asked) == in_sandbox
    assert {topic for topic, records in asked.items() if records} == {"sandbox.NAME.ai.results", "sandbox.NAME.ai.findings"}
