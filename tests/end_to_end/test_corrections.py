"""What is corrected in the PACS reaches the findings within ten seconds: none stays alive on a wrong patient or image."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests
from pydicom.dataset import Dataset

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from schemas.study_events import StudyCompleted
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.sequences import next_after
from tests.contract.example_images import part10, structured_report
from tests.contract.example_key_objects import OF_INTEREST, REJECTED_FOR_SAFETY, key_object
from tests.end_to_end.conftest import Hospital

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]
WITHIN_S = 10


async def analysed(hospital: Hospital, accession: str, *, images: int = 1, patient: str = "P-1") -> Findings:
    study = study_uid_of(accession)
    await hospital.order(accession, patient=patient)
    films = [copy_of(CHEST, accession_number=accession, patient_id=patient, instance=n + 1) for n in range(images)]
    await hospital.archive.store(films)
    await hospital.delivered(study)
    assert (await hospital.report(accession))["status"] == "partial"
    return said(hospital, study)[-1]


def said(hospital: Hospital, study: StudyInstanceUID) -> list[Findings]:
    """All that was said of the study so far."""
    return [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]


async def told_after(hospital: Hospital, before: Findings) -> Findings:
    """The state that the FHIR server holds, once it is a later one."""
    return await told(hospital, before.subject.study_instance_uid, before.subject.sequence + 1)


async def analysed_after(hospital: Hospital, before: Findings) -> Findings:
    """The next answer: a corrected study may have been told as late meanwhile."""
    return await told(hospital, before.subject.study_instance_uid, next_after(before.subject.sequence))


async def told(hospital: Hospital, study: StudyInstanceUID, sequence: int = 1) -> Findings:
    """The state that the FHIR server holds, once it is that far."""
    await hospital.delivered(study, sequence, timeout_s=WITHIN_S)
    return next(one for one in reversed(said(hospital, study)) if one.subject.sequence >= sequence)


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


async def live(hospital: Hospital, accession: str) -> list[dict[str, Any]]:
    """Observations that say something was seen."""
    found = await hospital.fhir.search_reports(accession)
    observations = [one for one in found if one["resourceType"] == "Observation"]
    return [one for one in observations if one["status"] not in ("entered-in-error", "cancelled")]


async def test_a_deleted_study_has_no_findings(hospital: Hospital, pacs: Pacs) -> None:
    before = await analysed(hospital, "E2E-DELETED")
    study = before.subject.study_instance_uid
    await pacs.ask("DELETE", await pacs.path_of(study))
    result = await told_after(hospital, before)
    assert result.not_analysed is not None
    assert result.not_analysed.reason is NotAnalysedReason.NO_IMAGE
    report = await hospital.report("E2E-DELETED")
    assert report["status"] == "cancelled"
    assert report["subject"]["identifier"]["value"] == "P-1"
    assert await live(hospital, "E2E-DELETED") == []


async def test_a_deleted_image_has_none_and_the_other_keeps_its_own(hospital: Hospital, pacs: Pacs) -> None:
    before = await analysed(hospital, "E2E-ONE-DELETED", images=2)
    first, second = (image.sop_instance_uid for image in before.images)
    await pacs.ask("DELETE", await pacs.path_of(second))
    result = await analysed_after(hospital, before)
    assert [image.sop_instance_uid for image in result.images] == [first]
    assert {finding.region.sop_instance_uid for finding in result.findings} == {first}


async def is_in_nobodys_record(hospital: Hospital, accession: str) -> bool:
    report = await hospital.report(accession)
    return "subject" not in report and await live(hospital, accession) == []


async def test_a_study_sent_again_under_another_patient_leaves_the_wrong_record(hospital: Hospital, pacs: Pacs) -> None:
    """The same UIDs; the order still names the first patient."""
    before = await analysed(hospital, "E2E-SENT-AGAIN")
    study = before.subject.study_instance_uid
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
    before = await analysed(hospital, "E2E-MOVED", patient="P-7")
    study = before.subject.study_instance_uid
    parent = (await pacs.ask("GET", await pacs.path_of(study)))["ParentPatient"]
    change = {"Replace": {"PatientID": "P-2"}, "KeepSource": False, "Force": True}
    await pacs.ask("POST", f"/patients/{parent}/modify", json=change)
    result = await told_after(hospital, before)
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


async def rejection_of(hospital: Hospital, study: StudyInstanceUID, title: str = REJECTED_FOR_SAFETY) -> bytes:
    """A key object selection that names the first image of the study."""
    described = await hospital.archive.describe(study)
    image = Dataset()
    image.StudyInstanceUID = study
    image.SeriesInstanceUID = described.images[0].series_instance_uid
    image.SOPInstanceUID, image.SOPClassUID = described.images[0].sop_instance_uid, described.images[0].sop_class_uid
    note = key_object(title, [image], study=study)
    assert described.accession_number is not None and described.patient is not None
    note.AccessionNumber, note.PatientID = described.accession_number.value, described.patient.value
    return part10(note)


async def test_a_rejected_image_has_no_findings(hospital: Hospital) -> None:
    before = await analysed(hospital, "E2E-REJECTED")
    study = before.subject.study_instance_uid
    await hospital.archive.store([await rejection_of(hospital, study)])
    result = await told_after(hospital, before)
    assert result.not_analysed is not None
    assert result.not_analysed.reason is NotAnalysedReason.NO_IMAGE
    assert (await hospital.report("E2E-REJECTED"))["status"] == "cancelled"
    assert await live(hospital, "E2E-REJECTED") == []


async def test_what_is_no_image_and_rejects_none_changes_nothing(hospital: Hospital) -> None:
    """Key objects of interest, and a report such as ours; then one that does reject, so that there is something to wait for."""
    before = await analysed(hospital, "E2E-OF-INTEREST")
    study = before.subject.study_instance_uid
    await hospital.archive.store([await rejection_of(hospital, study, OF_INTEREST)])
    await hospital.archive.store([part10(structured_report(study))])

    def three_instances(_: object) -> bool:
        events = [StudyCompleted.model_validate_json(record.value) for record in hospital.of(topics.STUDIES, study)]
        return any(event.instance_count == 3 and event.revision == before.subject.revision for event in events)

    await hospital.until("the study counted again", three_instances)
    await hospital.archive.store([await rejection_of(hospital, study)])
    assert (await told_after(hospital, before)).images == ()
    assert len(said(hospital, study)) == 2, "the others told nobody anything"


async def test_an_image_that_the_pacs_splits_off_leaves_the_study_and_is_its_own(hospital: Hospital, pacs: Pacs) -> None:
    before = await analysed(hospital, "E2E-SPLIT", images=2)
    study = before.subject.study_instance_uid
    first, second = (image.sop_instance_uid for image in before.images)
    instance = (await pacs.path_of(second)).removeprefix("/instances/")
    asked = {"Instances": [instance], "KeepSource": False}
    split = StudyInstanceUID((await pacs.ask("POST", f"{await pacs.path_of(study)}/split", json=asked))["TargetStudyUID"])
    result = await analysed_after(hospital, before)
    assert [image.sop_instance_uid for image in result.images] == [first]
    other = await told(hospital, split)
    assert len(other.images) == 1
    seen = {finding.region.sop_instance_uid for finding in (*result.findings, *other.findings)}
    assert seen == {first, other.images[0].sop_instance_uid}


async def test_a_study_that_the_pacs_merges_into_another_has_no_findings_of_its_own(hospital: Hospital, pacs: Pacs) -> None:
    kept, gone = await analysed(hospital, "E2E-MERGE-KEPT"), await analysed(hospital, "E2E-MERGE-GONE")
    path_of_kept, path_of_gone = [await pacs.path_of(one.subject.study_instance_uid) for one in (kept, gone)]
    asked = {"Resources": [path_of_gone.removeprefix("/studies/")], "KeepSource": False}
    await pacs.ask("POST", f"{path_of_kept}/merge", json=asked)
    result = await told_after(hospital, gone)
    assert result.not_analysed is not None
    assert result.not_analysed.reason is NotAnalysedReason.NO_IMAGE
    assert await live(hospital, "E2E-MERGE-GONE") == []
    both = await told_after(hospital, kept)
    assert len(both.images) == 2
