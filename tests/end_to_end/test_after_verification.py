"""A radiologist signs before the AI answers: every receiver hears that it came after, and a person is asked to look. And a model
is recalled: what it said is withdrawn."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.discrepancies import DISCREPANCY_EVENTS, DiscrepancyEvent, DiscrepancyOpened, DiscrepancyWithdrawn
from schemas.findings import Findings, ModelIdentity, NotAnalysedReason
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.emission import emit
from streams.sequences import AFTER_VERIFICATION, RECALLED
from tests.contract.example_findings import devices_alone
from tests.end_to_end.conftest import Hospital
from tests.unit.answers import result
from tests.unit.cases import reason, recall

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]


def signed_report(accession: str) -> bytes:
    """ORU^R01 with OBR-25 F."""
    at = datetime.now(UTC).strftime("%Y%m%d%H%M%S") + "+0000"
    obr = [""] * 26
    obr[1], obr[4], obr[18], obr[22], obr[25] = "1", "CHEST^Chest PA", accession, at, "F"
    segments = (
        f"MSH|^~\\&|RIS|HOSPITAL|||{at}||ORU^R01^ORU_R01|SIGNED-{accession}|P|2.5.1",
        "PID|1||P-1^^^HOSPITAL^MR",
        "|".join(("OBR", *obr[1:])),
        "OBX|1|TX|REPORT^Report||No nodule.||||||F",
    )
    return "".join(f"{segment}\r" for segment in segments).encode()


def discrepancies(hospital: Hospital, study: str) -> list[DiscrepancyEvent]:
    said = hospital.of(topics.DISCREPANCIES, study)
    return [DISCREPANCY_EVENTS[record.header("ce_type") or ""].model_validate_json(record.value) for record in said]


def results(hospital: Hospital, study: str) -> list[Findings]:
    return [Findings.model_validate_json(record.value) for record in hospital.of(topics.RESULTS, study)]


async def test_findings_after_he_signed(hospital: Hospital) -> None:
    accession, study = "E2E-SIGNED", study_uid_of("E2E-SIGNED")
    await hospital.order(accession)
    await hospital.send(signed_report(accession))
    await hospital.until("the report", lambda _: [r for r in hospital.of(topics.REPORTS) if accession.encode() in r.value])
    await hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])

    #: Two topics: what was written first is not always read first.
    answer, marked = await hospital.until("both states", lambda _: said if len(said := results(hospital, study)) > 1 else [])
    (opened,) = await hospital.until("the discrepancy", lambda _: discrepancies(hospital, study))
    assert answer.findings == marked.findings
    assert (answer.verified_at, marked.analysis_id) == (None, answer.analysis_id)
    assert marked.subject.sequence == answer.subject.sequence + AFTER_VERIFICATION
    assert isinstance(opened, DiscrepancyOpened)
    assert (opened.sequence, opened.verified_at) == (marked.subject.sequence, marked.verified_at)
    await hospital.delivered(study, marked.subject.sequence)
    report = await hospital.report(accession)
    assert report["status"] == "partial"
    assert "verif" in report["conclusion"]

    await hospital.order(accession, order_control="CA")
    await hospital.until("its withdrawal", lambda _: len(discrepancies(hospital, study)) > 1)
    withdrawn = discrepancies(hospital, study)[-1]
    assert isinstance(withdrawn, DiscrepancyWithdrawn)
    assert withdrawn.discrepancy_id == opened.discrepancy_id
    await hospital.delivered(study, marked.subject.sequence + 1)
    assert (await hospital.report(accession))["status"] == "cancelled"


async def test_what_a_recalled_model_said(hospital: Hospital) -> None:
    """One that nobody here speaks with: an answer of before."""
    accession, study = "E2E-RECALLED", study_uid_of("E2E-RECALLED")
    await hospital.order(accession)
    await hospital.archive.store([copy_of(CHEST, accession_number=accession, patient_id="P-1")])
    await hospital.delivered(study)
    (answer,) = results(hospital, study)
    model = ModelIdentity(name="of-before", version="9", weights_sha256="9" * 64)
    other = devices_alone(service="bones").model_copy(update={"subject": answer.subject, "model": model})
    await hospital.log.append([result(other)])
    await hospital.delivered(study, answer.subject.sequence)
    await hospital.log.append([emit(topics.MODELS, "recalled.of-before.9", recall("of-before", "9"), None)])

    def withdrawn(_: object) -> list[Findings]:
        return [one for one in results(hospital, study) if reason(one) is NotAnalysedReason.MODEL_RECALLED]

    (word,) = await hospital.until("its withdrawal", withdrawn)
    assert (word.service, word.subject.sequence) == ("bones", answer.subject.sequence + RECALLED)
    await hospital.delivered(study, word.subject.sequence)
    reports = [r for r in await hospital.fhir.search_reports(accession) if r["resourceType"] == "DiagnosticReport"]
    assert sorted(report["status"] for report in reports) == ["cancelled", "partial"]
