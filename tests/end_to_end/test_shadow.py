"""A candidate in the shadow of the running engine: it sees what the model in use sees, and nobody sees what it says."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelShadowed
from schemas.ports import Record
from streams import topics
from streams.demo.radiographs import CHEST, EXTREMITY, copy_of, study_uid_of
from streams.shadows.sandbox import Sandbox
from streams.shadows.shadow import step_name
from streams.unbroken import unbroken
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.test_commands import as_json, radstream
from tests.service.analyse_process import decoding_processes
from tests.service.positions import begun

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

SANDBOX = Sandbox("e2e-next")
PACKAGE = ("chest-nodule", "2")
ACT = ("--sandbox", SANDBOX.name, "--approved-by", "Dr E2E", "--reason", "an end-to-end test")
CHESTS, EXTREMITIES = 3, 1


@asynccontextmanager
async def shadow(hospital: Hospital) -> AsyncIterator[None]:
    """The package of the engine, as its own candidate: it must say the same."""
    code, _, err = await radstream(hospital, "model", "shadow", *PACKAGE, *ACT)
    assert code == 0, err
    try:
        act = ModelShadowed.model_validate_json(
            await hospital.until(
                "the act", lambda _: next((r.value for r in hospital.of(topics.MODELS) if r.key == SANDBOX.key.encode()), None)
            )
        )
        await begun(hospital.engine.settings.kafka.bootstrap, step_name(act), 12, 120)
        yield
    finally:
        code, _, err = await radstream(hospital, "model", "shadow", *PACKAGE, *ACT, "--end")
        assert code == 0, err


async def said_in_the_shadow(hospital: Hospital, studies: set[StudyInstanceUID]) -> dict[str, Record]:
    """The result of each, once all are there."""
    found: dict[str, Record] = {}
    async with asyncio.timeout(180):
        async for record in unbroken(hospital.log, SANDBOX.results.name):
            found[(record.key or b"").decode()] = record
            if studies <= found.keys():
                break
    return found


async def test_the_same_model_in_the_shadow_says_the_same_and_nobody_hears_it(hospital: Hospital) -> None:
    accessions = [f"E2E-SHADOW-{number}" for number in range(CHESTS + EXTREMITIES)]
    studies = {study_uid_of(accession) for accession in accessions}
    async with shadow(hospital):
        for number, accession in enumerate(accessions):
            await hospital.order(accession)
            film = CHEST if number < CHESTS else EXTREMITY
            await hospital.archive.store([copy_of(film, accession_number=accession, patient_id="P-1")])
        for study in studies:
            await hospital.delivered(study)
        in_shadow = await said_in_the_shadow(hospital, studies)
        role = hospital.engine.supervisor.processes["work shadow"].pid
        below = decoding_processes(role)
        assert len(below) >= 2, "a decoder, and the candidate's process"
        assert {os.sched_getscheduler(pid) for pid in (role, *below)} == {os.SCHED_IDLE}
        code, out, err = await radstream(hospital, "model", "compare", "--sandbox", SANDBOX.name, "--json")
        assert code == 0, err
        _, text, _ = await radstream(hospital, "model", "compare", "--sandbox", SANDBOX.name)

    for study in studies:
        (real,) = (record for record in hospital.of(topics.RESULTS, study))
        mine, its = Findings.model_validate_json(real.value), Findings.model_validate_json(in_shadow[study].value)
        assert its.subject == mine.subject
        assert its.analysis_id != mine.analysis_id
        assert (its.model, its.not_analysed, len(its.findings)) == (mine.model, mine.not_analysed, len(mine.findings))
        assert str(its.analysis_id) not in {record.header("ce_id") for record in hospital.records}
    for accession in accessions:
        assert (await hospital.report(accession))["meta"]["versionId"] == "1", "nothing of it reached the FHIR server"

    comparison = json.loads(out)
    assert (comparison["both"], comparison["candidate_only"]) == (CHESTS + EXTREMITIES, 0)
    assert sum(number for *_, number in comparison["not_analysed"]) == EXTREMITIES
    (models,) = comparison["models"]
    assert (models["in_use"], models["candidate"], models["states"]) == ("chest-nodule/2", "chest-nodule/2", CHESTS)
    assert models["findings"]["matched"] > 0
    assert (models["findings"]["changed"], comparison["changed"]) == (0, 0)
    assert models["shift"]["number"] == CHESTS
    assert abs(models["shift"]["mean"]) < 0.001, "alone or in a batch"
    assert comparison["in_use_latency"]["number"] == comparison["candidate_latency"]["number"] == CHESTS
    assert not any(study in text for study in studies)


async def test_the_role_is_well_without_a_shadow(hospital: Hospital) -> None:
    rows = {row["what"]: row for row in await as_json(hospital, "doctor")}
    assert rows["work shadow"]["well"], rows["work shadow"]
