"""`radstream case --at`: beside a running engine, what was known of a case before and after each thing that happened."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from schemas.ports import Record
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.sequences import next_after
from streams.wiring.clients import case_store_for
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.test_commands import as_json, radstream

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]

ACCESSION, PATIENT = "E2E-CASE-AT", "MRN-SECRET-78"


async def projected(hospital: Hospital, record: Record) -> None:
    """The view is written beside the walk: it may be a moment behind, and gives no event."""
    cases = case_store_for(hospital.engine.settings)
    try:
        async with asyncio.timeout(30):
            while record.place not in {entry.place for entry in await cases.timeline(ACCESSION)}:
                await asyncio.sleep(0.1)
    finally:
        await cases.close()


async def known_at(hospital: Hospital, moment: datetime) -> dict[str, Any]:
    known: dict[str, Any] = await as_json(hospital, "case", ACCESSION, "--at", moment.isoformat())
    return known


async def test_order_study_result_and_cancellation_each_from_its_moment_on(hospital: Hospital) -> None:
    study = study_uid_of(ACCESSION)
    await hospital.order(ACCESSION, patient=PATIENT, control_id="AT-NEW")
    ordered: Record = await hospital.until(
        "the order", lambda _: next((r for r in hospital.of(topics.ORDERS) if ACCESSION.encode() in r.value), None)
    )
    await hospital.archive.store([copy_of(CHEST, accession_number=ACCESSION, patient_id=PATIENT)])
    first = await hospital.delivered(study)
    held = hospital.of(topics.DELIVERIES, study)[-1]
    await hospital.order(ACCESSION, patient=PATIENT, control_id="AT-CANCEL", order_control="CA")
    await hospital.delivered(study, next_after(first["sequence"]))
    withdrawn = hospital.of(topics.DELIVERIES, study)[-1]
    await projected(hospital, withdrawn)

    code, page, _ = await radstream(hospital, "case", ACCESSION, "--at", (ordered.timestamp - timedelta(minutes=1)).isoformat())
    assert (code, "nothing was known" in page) == (0, True)

    then = await known_at(hospital, ordered.timestamp)
    assert [(one["type"], one["message_control_id"]) for one in then["messages"]] == [("ORM^O01", "AT-NEW")]
    assert [one["status"] for one in then["orders"]] == ["placed"]
    assert then["studies"] == then["findings"] == then["deliveries"] == []

    then = await known_at(hospital, held.timestamp)
    assert [one["images"] for one in then["studies"]] == [1]
    (answer,) = then["findings"]
    assert answer["findings"] > 0 and answer["stands"] and answer["model"].startswith("chest-nodule/")
    assert [(one["destination"], one["sequence"], one["behind"]) for one in then["deliveries"]] == [
        ("fhir", first["sequence"], False)
    ]
    assert [one["status"] for one in then["orders"]] == ["placed"]

    code, page, _ = await radstream(hospital, "case", ACCESSION, "--at", withdrawn.timestamp.isoformat())
    assert code == 0
    for line in ("AT-CANCEL from HIS|HOSPITAL", "cancelled: placer", ", replaced since", "not analysed: order-cancelled"):
        assert line in page, page
    assert PATIENT not in page
