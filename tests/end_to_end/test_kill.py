"""kill -9 of every role in the middle of 100 studies: 100 DiagnosticReports, none missing, none twice, same ids."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import pytest

from schemas.ports import Record
from schemas.renderings.fhir.references import Site, report_id
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.wiring import ROLES
from tests.end_to_end.conftest import Hospital

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

STUDIES = 100


async def test_every_role_is_killed_in_the_middle(hospital: Hospital) -> None:
    accessions = [f"KILL-{number:03d}" for number in range(STUDIES)]
    studies = {study_uid_of(accession) for accession in accessions}
    supervisor = hospital.engine.supervisor
    before = dict(supervisor.restarts)

    def results() -> int:
        return len({r.key for r in hospital.of(topics.RESULTS) if r.key and r.key.decode() in studies})

    async def send() -> None:
        for accession in accessions:
            await hospital.order(accession)
            film = copy_of(CHEST, accession_number=accession, patient_id="P-1")
            await hospital.archive.store([film])

    def enough(due: int, _: list[Record]) -> bool:
        return results() >= due

    async def kill() -> None:
        """One role after the other, each when some more studies have come through."""
        for number, role in enumerate(ROLES, start=1):
            due = number * STUDIES // (len(ROLES) + 2)
            await hospital.until(f"{due} results before {role} is killed", partial(enough, due), 300)
            os.kill(supervisor.processes[role].pid, signal.SIGKILL)

    async with asyncio.TaskGroup() as both:  # when one fails, the other does not go on among the tests that follow
        both.create_task(send())
        both.create_task(kill())

    def delivered() -> set[str]:
        return {study for study in studies for r in hospital.of(topics.DELIVERIES) if study.encode() in r.value}

    await hospital.until("all delivered", lambda _: delivered() >= studies, 300)
    assert all(supervisor.restarts[role] > before[role] for role in ROLES)
    site = Site(assigner=hospital.engine.settings.site.default_assigner)
    for accession in accessions:
        report = await hospital.report(accession)  # exactly one
        assert report["id"] == str(report_id(study_uid_of(accession), site))
        assert report["status"] == "partial"
    assert not [r for r in hospital.of(topics.DEAD_LETTERS) if r.key and r.key.decode() in studies]
