"""Bad input and bad neighbours, through the whole engine: the guard's named outcome, nothing lost, the next one goes on."""

from __future__ import annotations

import asyncio
import io
import socket

import pydicom
import pytest
import requests

from schemas.ports import Record
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from tests.end_to_end.conftest import Hospital
from tests.service.fault_proxy import Fault

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]


def dead(hospital: Hospital, needle: bytes) -> list[Record]:
    return [r for r in hospital.of(topics.DEAD_LETTERS) if needle in r.value]


async def good_study(hospital: Hospital, accession: str) -> None:
    """The next record goes on."""
    await hospital.order(accession)
    await hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])
    await hospital.delivered(study_uid_of(accession))
    assert (await hospital.report(accession))["status"] == "partial"


async def test_a_frame_of_garbage(hospital: Hospital) -> None:
    settings = hospital.engine.settings.mllp
    reader, writer = await asyncio.open_connection(settings.host, settings.port, family=socket.AF_INET)
    writer.write(b"\x0bthis is not HL7 E2E-GARBAGE\x1c\r")
    answer = await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
    writer.close()
    await writer.wait_closed()
    assert b"MSA|AR" in answer
    letter = (await hospital.until("the dead letter", lambda _: dead(hospital, b"E2E-GARBAGE")))[0]
    assert letter.value == b"this is not HL7 E2E-GARBAGE"
    await good_study(hospital, "E2E-AFTER-GARBAGE")


async def test_an_order_with_no_usable_identifier(hospital: Hospital) -> None:
    message = await hospital.order("E2E-NOBODY")
    nameless = message.replace(b"PL-E2E-NOBODY^HOSPITAL", b"").replace(b"PL-E2E-NOBODY", b"").replace(b"E2E-NOBODY", b"")
    nameless = nameless.replace(b"|E2E0", b"|NAM0", 1)
    await hospital.send(nameless)
    letter = (
        await hospital.until("the dead letter", lambda _: [r for r in hospital.of(topics.DEAD_LETTERS) if r.value == nameless])
    )[0]
    assert letter.header("error") == "MissingIdentifier"
    assert letter.header("topic") == topics.HL7_RAW.name
    assert letter.header("step") == "normalise"


async def test_a_truncated_dicom_file(hospital: Hospital) -> None:
    dataset = pydicom.dcmread(io.BytesIO(copy_of(CHEST, accession_number="E2E-CUT", patient_id="P-1")))
    dataset.PixelData = dataset.PixelData[:100_000]
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    study = study_uid_of("E2E-CUT")
    await hospital.order("E2E-CUT")
    await hospital.archive.store([file.getvalue()])
    letter = (await hospital.until("the dead letter", lambda _: dead(hospital, study.encode())))[0]
    assert (letter.header("step"), letter.header("error")) == ("analyse", "InvalidResource")
    assert letter.value == hospital.of(topics.REQUESTS, study)[-1].value
    await good_study(hospital, "E2E-AFTER-CUT")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
async def test_a_study_that_breaks_the_standard(hospital: Hospital) -> None:
    dataset = pydicom.dcmread(io.BytesIO(copy_of(CHEST, accession_number="E2E-BROKEN", patient_id="P-1")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID[:50]}.01"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    url = f"{hospital.engine.services.orthanc_url}/instances"  # over STOW-RS it would be refused at the door
    (await asyncio.to_thread(requests.post, url, data=file.getvalue(), timeout=20)).raise_for_status()
    study = study_uid_of("E2E-BROKEN")
    letter = (await hospital.until("the dead letter", lambda _: dead(hospital, study.encode())))[0]
    assert (letter.header("step"), letter.header("error")) == ("complete", "InvalidResource")
    assert letter.header("topic") == topics.NOTICES.name
    await good_study(hospital, "E2E-AFTER-BROKEN")


REFUSALS = {
    "422": (Fault("answer", 422, b'{"resourceType":"OperationOutcome"}', method="POST"), "ResourceRefused"),
    "403": (Fault("answer", 403, method="POST"), "AccessRefused"),
}
TROUBLES = {
    "401": Fault("answer", 401),  # of everything: no report's fault
    "503": Fault("answer", 503),
    "hang": Fault("hang"),
    "cut": Fault("cut"),
    "lost": Fault("lose-answer", method="POST"),
    "409": Fault("answer", 409, method="POST"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_fhir_server_that_refuses(hospital: Hospital, name: str) -> None:
    """Dead letter, with the bytes of the Bundle."""
    fault, error = REFUSALS[name]
    accession = f"E2E-REFUSED-{name}"
    study = study_uid_of(accession)
    with hospital.fhir_server_in_trouble(fault):
        await hospital.order(accession)
        await hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])

        def letters(_: list[Record]) -> list[Record]:
            return [r for r in dead(hospital, study.encode()) if r.header("topic") == topics.FINDINGS.name]

        letter = (await hospital.until("the dead letter", letters))[0]
    assert (letter.header("step"), letter.header("error")) == ("deliver.fhir", error)
    assert letter.value == hospital.of(topics.FINDINGS, study)[-1].value
    await good_study(hospital, f"E2E-AFTER-{name}")


@pytest.mark.parametrize("name", TROUBLES)
async def test_a_fhir_server_in_trouble(hospital: Hospital, name: str) -> None:
    """Paused (401 to everything, 503, cut) or parked (409): not delivered, no dead letter; once it is well, delivered once."""
    accession = f"E2E-TROUBLE-{name}"
    study = study_uid_of(accession)
    with hospital.fhir_server_in_trouble(TROUBLES[name]):
        await hospital.order(accession)
        await hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])
        await hospital.until("the findings", lambda _: hospital.of(topics.FINDINGS, study))
        await hospital.asked(2)
        assert not hospital.of(topics.DELIVERIES, study)
    await hospital.delivered(study)
    report = await hospital.report(accession)
    assert report["meta"]["versionId"] == "1"
    assert not dead(hospital, study.encode())
