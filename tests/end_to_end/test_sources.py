"""Whoever says that a study is there: the webhook, MPPS and Instance Availability Notification reach the same findings."""

from __future__ import annotations

import asyncio
import io

import pydicom
import pytest
import requests

from schemas.study_events import StudyCompleted
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from tests.end_to_end.conftest import WEBHOOK_TOKEN, Hospital
from tests.unit.dimse_peer import IAN, MPPS, Caller, change, notification, step

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]


def uid_of(part10: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(part10), stop_before_pixels=True).SOPInstanceUID)


async def completed(hospital: Hospital, study: str, source: str) -> StudyCompleted:
    def said(_: object) -> StudyCompleted | None:
        events = [StudyCompleted.model_validate_json(record.value) for record in hospital.of(topics.STUDIES, study)]
        return next((event for event in events if event.source == source), None)

    found: StudyCompleted = await hospital.until(f"{source} completes the study", said)
    return found


def caller(hospital: Hospital) -> Caller:
    port = hospital.engine.settings.dicom.port
    assert port is not None
    return Caller(port)


async def test_a_webhook_that_names_the_study(hospital: Hospital) -> None:
    study = study_uid_of("E2E-HOOK")
    await hospital.order("E2E-HOOK")
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-HOOK", patient_id="P-1")])
    url = f"http://127.0.0.1:{hospital.engine.settings.webhook.port}/studies"
    said = {"study_instance_uid": study, "settled": True, "source_ae_title": "CR1"}
    refused = await asyncio.to_thread(requests.post, url, json=said, timeout=20)
    taken = await asyncio.to_thread(requests.post, url, json=said, headers={"Authorization": f"Bearer {WEBHOOK_TOKEN}"}, timeout=20)
    assert (refused.status_code, taken.status_code) == (401, 202)
    event = await completed(hospital, study, "webhook")
    assert (event.source_ae_title, event.instance_count) == ("CR1", 1)
    await hospital.delivered(study)
    assert (await hospital.report("E2E-HOOK"))["status"] == "partial"


async def test_a_performed_procedure_step_is_complete_when_all_its_images_are_there(hospital: Hospital) -> None:
    study, mpps = study_uid_of("E2E-MPPS"), "1.2.840.99.1"
    images = [copy_of(CHEST, accession_number="E2E-MPPS", patient_id="P-1", instance=n) for n in (1, 2)]
    modality = caller(hospital)
    await hospital.order("E2E-MPPS")
    assert (await modality.create(MPPS, mpps, step(study, number="E2E-MPPS"))).Status == 0
    await hospital.archive.store(images[:1])
    assert (await modality.set(mpps, change(one=[uid_of(image) for image in images]))).Status == 0
    await hospital.archive.store(images[1:])
    event = await completed(hospital, study, "dicom:mpps")
    assert (event.instance_count, event.promised_count, event.source_ae_title) == (2, 2, "CR1")
    await hospital.delivered(study)
    assert (await hospital.report("E2E-MPPS"))["status"] == "partial"


async def test_an_instance_availability_notification(hospital: Hospital) -> None:
    study = study_uid_of("E2E-IAN")
    image = copy_of(CHEST, accession_number="E2E-IAN", patient_id="P-1")
    await hospital.order("E2E-IAN")
    await hospital.archive.store([image])
    status = await caller(hospital).create(IAN, "1.2.840.99.2", notification(study, {uid_of(image): "ONLINE"}))
    assert status.Status == 0
    assert (await completed(hospital, study, "dicom:ian")).promised_count == 1
    await hospital.delivered(study)
    assert len(hospital.of(topics.REQUESTS, study)) == 1  # whoever else noticed it
