"""kill -9 of a decoding process, of `analyse` and of Orthanc in the middle of 100 studies: all 100 end, once."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import pytest

from schemas.errors import ArchiveUnavailable, ItemNotServed
from schemas.ports import Record
from schemas.renderings.fhir.references import Site, report_id
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.health import read_health
from tests.end_to_end.conftest import Hospital
from tests.service.analyse_process import decoding_processes
from tests.service.away import away

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

STUDIES = 100
ANALYSE = "work analyse"


async def modality_stores(hospital: Hospital, film: bytes, refused: asyncio.Event) -> None:
    """Again until it is stored: the archive's answer may be lost with the archive. `refused` is set when it was not there."""
    async with asyncio.timeout(120):
        while True:
            try:
                return await hospital.archive.store([film])
            except (ArchiveUnavailable, ItemNotServed):
                refused.set()
                await asyncio.sleep(0.5)  # an archive that is being started again gives no event


async def test_decoders_analyse_and_orthanc_are_killed_in_the_middle(hospital: Hospital) -> None:
    accessions = [f"KILL-IMAGE-{number:03d}" for number in range(STUDIES)]
    studies = {study_uid_of(accession) for accession in accessions}
    supervisor, services = hospital.engine.supervisor, hospital.engine.services
    restarts, refused = supervisor.restarts[ANALYSE], asyncio.Event()

    def results() -> int:
        return len({r.key for r in hospital.of(topics.RESULTS) if r.key and r.key.decode() in studies})

    def enough(due: int, _: list[Record]) -> bool:
        return results() >= due

    async def send() -> None:
        for accession in accessions:
            await hospital.order(accession)
            await modality_stores(hospital, copy_of(CHEST, accession_number=accession, patient_id="P-1"), refused)

    async def kill() -> None:
        for due in (10, 20, 30):
            await hospital.until(f"{due} results", partial(enough, due), 300)
            analyse = supervisor.processes[ANALYSE].pid
            killed = decoding_processes(analyse)
            assert killed, "nothing decodes"
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            await hospital.until("a result after its decoders were killed", partial(enough, results() + 2), 120)
            assert supervisor.processes[ANALYSE].pid == analyse, "it costs the decoding process only"
            assert not decoding_processes(analyse) & killed
        for due in (40, 60):
            await hospital.until(f"{due} results", partial(enough, due), 300)
            os.kill(supervisor.processes[ANALYSE].pid, signal.SIGKILL)
        await hospital.until("75 results", partial(enough, 75), 300)
        async with away(services, "orthanc"):
            assert results() < STUDIES, "killed in the middle, not after it"
            refused.clear()
            async with asyncio.timeout(60):  # away until somebody has noticed: who stores, or who analyses
                while not refused.is_set() and read_health(hospital.engine.settings.run_folder)["work-analyse"].state != "paused":
                    await asyncio.sleep(0.1)  # its health is a file

    async with asyncio.TaskGroup() as both:  # when one fails, the other does not go on among the tests that follow
        both.create_task(send())
        both.create_task(kill())

    def delivered() -> set[str]:
        return {study for study in studies for r in hospital.of(topics.DELIVERIES) if study.encode() in r.value}

    await hospital.until("all delivered", lambda _: delivered() >= studies, 300)
    assert supervisor.restarts[ANALYSE] >= restarts + 2
    site = Site(assigner=hospital.engine.settings.site.default_assigner)
    for accession in accessions:
        study = study_uid_of(accession)
        assert len({record.header("ce_id") for record in hospital.of(topics.RESULTS, study)}) == 1, "analysed for one reason"
        report = await hospital.report(accession)  # exactly one
        assert report["id"] == str(report_id(study, site))
        assert (report["status"], report["meta"]["versionId"]) == ("partial", "1")
    assert not [r for r in hospital.of(topics.DEAD_LETTERS) if r.key and r.key.decode() in studies]
