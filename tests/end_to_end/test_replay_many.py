"""Ten thousand messages and fifty studies, replayed twice and once with another model: nobody outside hears anything, both runs are
one, and the diff names exactly the studies of which the other model says something else."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest

from schemas.findings import Findings
from schemas.ports import Outgoing
from streams import topics
from streams.demo.orders import order_for
from streams.demo.radiographs import CHEST, EXTREMITY, copy_of, study_uid_of
from streams.destination_settings import DestinationSettings, OruDestination
from streams.settings import Settings, as_environment
from tests.contract.oru_ris import ris_server
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.live_topics import nothing_is_said
from tests.service.replay_process import Said, said_in

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(3600),
]

MESSAGES, STUDIES = 10_000, 50


def accession_of(number: int) -> str:
    return f"E2E-MANY-{number:05d}"


async def radstream(settings: Settings, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=as_environment(settings) | {"COLUMNS": "300"},
    )  # fmt: skip
    out, beside = await process.communicate()
    return process.returncode or 0, out.decode(), beside.decode()


async def ordered(hospital: Hospital) -> None:
    """As a HIS that produces straight onto the topic."""
    at, assigner = datetime.now(UTC), hospital.engine.settings.site.default_assigner
    for first in range(0, MESSAGES, 500):
        numbers = range(first, first + 500)
        messages = [
            order_for(accession_of(n), patient=f"P-{n}", assigner=assigner, at=at, control_id=f"MANY{n:05d}") for n in numbers
        ]
        await hospital.log.append([Outgoing(topics.HL7_RAW.name, b"HIS|HOSPITAL", message) for message in messages])


async def outside(hospital: Hospital) -> dict[str, object]:
    with await asyncio.to_thread(urlopen, f"{hospital.engine.services.orthanc_url}/changes?last") as answer:
        archive = json.load(answer)["Last"]
    accessions = [accession_of(number) for number in range(STUDIES)]
    reports = {accession: (await hospital.report(accession))["meta"]["versionId"] for accession in accessions}
    return {"archive": archive, "reports": reports}


def latest(said: Said) -> dict[str, Findings]:
    found = [Findings.model_validate_json(value) for _, value, _ in said["sandbox.NAME.ai.results"]]
    return {str(one.subject.study_instance_uid): one for one in sorted(found, key=lambda one: one.subject.sequence)}


async def test_ten_thousand_messages_and_fifty_studies(hospital: Hospital) -> None:
    begun = datetime.now(UTC).isoformat()
    await ordered(hospital)
    await hospital.until("all orders", lambda _: sum(b"MANY" in one.value for one in hospital.of(topics.ORDERS)) == MESSAGES, 900)
    studies = [study_uid_of(accession_of(number)) for number in range(STUDIES)]
    for number in range(STUDIES):
        film = CHEST if number % 2 else EXTREMITY
        await hospital.archive.store([copy_of(film, accession_number=accession_of(number), patient_id=f"P-{number}")])
    for study in studies:
        await hospital.delivered(study, timeout_s=1200)

    before = await outside(hospital)
    async with nothing_is_said(hospital, studies), ris_server() as ris:
        told = DestinationSettings(oru=(OruDestination(name="ris", address=f"127.0.0.1:{ris.port}"),))
        settings = hospital.engine.settings.model_copy(update={"destinations": told})
        chosen = ("--since", begun, "--start", "normalise", "--run", "--reason", "a test", "--rate", "0")
        for name, more in (("many-one", ()), ("many-two", ()), ("many-other", ("--with", "chest-nodule/1"))):
            code, out, beside = await radstream(settings, "replay", *chosen, "--name", name, *more)
            assert code == 0, out + beside
        assert ris.ris.messages == []
    assert await outside(hospital) == before

    one, two, other = [await said_in(settings, name) for name in ("many-one", "many-two", "many-other")]
    assert one == two
    assert len(one["sandbox.NAME.imaging.orders"]) == MESSAGES
    assert set(latest(one)) == set(map(str, studies))
    same = await radstream(settings, "replay", "diff", "many-two", "--against", "many-one", "--json")
    live = await radstream(settings, "replay", "diff", "many-one", "--json")
    assert (same[0], live[0]) == (0, 0), same[1] + live[1]

    code, out, beside = await radstream(settings, "replay", "diff", "many-other", "--json")
    assert code == 1, out + beside
    named = {study["study_instance_uid"] for study in json.loads(out)["studies"]}
    then, now = latest(one), latest(other)
    differs = {uid for uid in then if (then[uid].findings, then[uid].not_analysed) != (now[uid].findings, now[uid].not_analysed)}
    assert named == differs
    assert 0 < len(differs) < STUDIES
