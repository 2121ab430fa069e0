"""What is corrected in the PACS reaches the findings within ten seconds: none stays alive on a wrong patient or image."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from tests.end_to_end.conftest import Hospital

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]
WITHIN_S = 10


async def analysed(hospital: Hospital, accession: str, *, images: int = 1, patient: str = "P-1") -> StudyInstanceUID:
    study = study_uid_of(accession)
    await hospital.order(accession, patient=patient)
    films = [copy_of(CHEST, accession_number=accession, patient_id=patient, instance=n + 1) for n in range(images)]
    await hospital.archive.store(films)
    await hospital.delivered(study)
    assert (await hospital.report(accession))["status"] == "partial"
    return study


class Pacs:
    """What its administrator does."""

    def __init__(self, hospital: Hospital) -> None:
        self._url = hospital.engine.services.orthanc_url

    async def ask(self, method: str, path: str, **said: Any) -> Any:
        answer = await asyncio.to_thread(requests.request, method, f"{self._url}{path}", timeout=20, **said)
        answer.raise_for_status()
        return answer.json()

    async def path_of(self, uid: str) -> str:
        (found,) = await self.ask("POST", "/tools/lookup", data=uid)
        return str(found["Path"])


@pytest.fixture
def pacs(hospital: Hospital) -> Pacs:
    return Pacs(hospital)


async def told(hospital: Hospital, study: StudyInstanceUID, sequence: int) -> Findings:
    """The state that the FHIR server holds, once it is that far."""
    await hospital.delivered(study, sequence, timeout_s=WITHIN_S)
    results = [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]
    return next(one for one in reversed(results) if one.subject.sequence >= sequence)


async def live(hospital: Hospital, accession: str) -> list[dict[str, Any]]:
    """Observations that say something was seen."""
    found = await hospital.fhir.search_reports(accession)
    observations = [one for one in found if one["resourceType"] == "Observation"]
    return [one for one in observations if one["status"] not in ("entered-in-error", "cancelled")]


async def test_a_deleted_study_has_no_findings(hospital: Hospital, pacs: Pacs) -> None:
    study = await analysed(hospital, "E2E-DELETED")
    await pacs.ask("DELETE", await pacs.path_of(study))
    result = await told(hospital, study, 2)
    assert result.not_analysed is not None
    assert result.not_analysed.reason is NotAnalysedReason.NO_IMAGE
    report = await hospital.report("E2E-DELETED")
    assert report["status"] == "cancelled"
    assert report["subject"]["identifier"]["value"] == "P-1"
    assert await live(hospital, "E2E-DELETED") == []


async def test_a_deleted_image_has_none_and_the_other_keeps_its_own(hospital: Hospital, pacs: Pacs) -> None:
    study = await analysed(hospital, "E2E-ONE-DELETED", images=2)
    before = await told(hospital, study, 1)
    first, second = (image.sop_instance_uid for image in before.images)
    await pacs.ask("DELETE", await pacs.path_of(second))
    result = await told(hospital, study, 2)
    assert [image.sop_instance_uid for image in result.images] == [first]
    assert {finding.region.sop_instance_uid for finding in result.findings} == {first}


async def is_in_nobodys_record(hospital: Hospital, accession: str) -> bool:
    report = await hospital.report(accession)
    return "subject" not in report and await live(hospital, accession) == []


async def test_a_study_sent_again_under_another_patient_leaves_the_wrong_record(hospital: Hospital, pacs: Pacs) -> None:
    """The same UIDs; the order still names the first patient."""
    study = await analysed(hospital, "E2E-SENT-AGAIN")
    await pacs.ask("DELETE", await pacs.path_of(study))
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-SENT-AGAIN", patient_id="P-2")])

    def mismatch(_: object) -> bool:
        results = [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]
        why = results[-1].not_analysed
        return why is not None and why.reason is NotAnalysedReason.IDENTITY_MISMATCH

    await hospital.until("the mismatch", mismatch, timeout_s=WITHIN_S)
    result = Findings.model_validate_json(hospital.of(topics.RESULTS, study)[-1].value)
    await told(hospital, study, result.subject.sequence)
    assert await is_in_nobodys_record(hospital, "E2E-SENT-AGAIN")


async def test_a_study_that_the_pacs_moves_to_another_patient_leaves_the_wrong_record(hospital: Hospital, pacs: Pacs) -> None:
    """Orthanc makes another study of it, with UIDs of its own and the same accession number."""
    study = await analysed(hospital, "E2E-MOVED", patient="P-7")
    parent = (await pacs.ask("GET", await pacs.path_of(study)))["ParentPatient"]
    change = {"Replace": {"PatientID": "P-2"}, "KeepSource": False, "Force": True}
    await pacs.ask("POST", f"/patients/{parent}/modify", json=change)
    result = await told(hospital, study, 2)
    assert result.not_analysed is not None
    assert result.not_analysed.reason is NotAnalysedReason.NO_IMAGE

    def moved(_: object) -> list[Findings]:
        results = [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS)]
        number = result.subject.accession_number
        return [one for one in results if one.subject.accession_number == number and one.subject.study_instance_uid != study]

    (mismatch, *_) = await hospital.until("the study under its new patient", moved, timeout_s=WITHIN_S)
    assert mismatch.not_analysed is not None
    assert mismatch.not_analysed.reason is NotAnalysedReason.IDENTITY_MISMATCH
    assert mismatch.subject.patient is None
