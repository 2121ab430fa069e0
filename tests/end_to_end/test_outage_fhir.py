"""The FHIR server is killed in mid-transaction and stays away under load: then it holds every report once, in its last state."""

from __future__ import annotations

import asyncio

import pytest

from schemas.renderings.fhir.references import Site, report_id
from streams import topics
from streams.demo.radiographs import EXTREMITY, copy_of, study_uid_of
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.test_walk import findings_of
from tests.service.away import away

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

#: of two studies one whose order is cancelled meanwhile: what the server held before is not its last state
_CANCELLED = 2


@pytest.mark.parametrize("away_s", [15, pytest.param(120, marks=pytest.mark.long)])
async def test_every_report_is_there_once_in_its_last_state(hospital: Hospital, away_s: int) -> None:
    accessions = [f"OUTAGE-{away_s}-{number:03d}" for number in range(6 + away_s)]
    studies = {accession: study_uid_of(accession) for accession in accessions}
    loop = asyncio.get_running_loop()

    async def send(chosen: list[str], pause_s: float) -> None:
        for accession in chosen:
            await hospital.order(accession)
            # a leg is told as "not analysed" at once: twice as many studies a second as the model manages
            await hospital.archive.store([copy_of(EXTREMITY, accession_number=accession, patient_id="P-1")])
            await asyncio.sleep(pause_s)  # the load asked for is so many a second

    before, meanwhile = accessions[:6], accessions[6:]
    sending = asyncio.create_task(send(before, 0.2))
    await hospital.proxy.reached(2, "POST")
    async with away(hospital.engine.services, "fhir"):
        begun = loop.time()
        await sending
        await send(meanwhile, 0.3)
        for accession in accessions[::_CANCELLED]:
            await hospital.order(accession, order_control="CA")
        await asyncio.sleep(max(0.0, begun + away_s - loop.time()))  # away for so long is what is asked
        last = {
            uid: max(await _told(hospital, uid, cancelled=accession in accessions[::_CANCELLED]))
            for accession, uid in studies.items()
        }

    for uid, sequence in last.items():
        await hospital.delivered(uid, sequence, 300)
    site = Site(assigner=hospital.engine.settings.site.default_assigner)
    for accession, uid in studies.items():
        report = await hospital.report(accession)  # exactly one
        assert report["id"] == str(report_id(uid, site))
        assert report["status"] == "cancelled"
        assert ("order was cancelled" in report["conclusion"]) is (accession in accessions[::_CANCELLED])
    keys = {uid.encode() for uid in studies.values()}
    assert not [record for record in hospital.of(topics.DEAD_LETTERS) if record.key in keys]


async def _told(hospital: Hospital, uid: str, *, cancelled: bool) -> list[int]:
    """The sequences of what is to be delivered of a study, once the last of them is on the log."""

    def there(_: object) -> list[int] | None:
        said = [findings_of(record) for record in hospital.of(topics.RESULTS, uid)]
        done = any(one.not_analysed is not None and one.not_analysed.reason == "order-cancelled" for one in said)
        return [one.subject.sequence for one in said] if said and (done or not cancelled) else None

    found: list[int] = await hospital.until(f"the last result of {uid}", there, 120)
    return found
