"""Order and radiograph in, located findings out: the whole engine on real services."""

from __future__ import annotations

import io
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest

from schemas.findings import Findings, NotAnalysedReason
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Record
from streams import topics
from streams.demo.orders import order_for
from streams.demo.radiographs import CHEST, EXTREMITY, copy_of, study_uid_of
from streams.sequences import next_after
from tests.end_to_end.conftest import Hospital
from tests.unit.cases import reason

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]


def findings_of(record: Record) -> Findings:
    return Findings.model_validate_json(record.value)


def last_result(hospital: Hospital, study: StudyInstanceUID) -> Findings:
    return findings_of(hospital.of(topics.RESULTS, study)[-1])


async def examined(
    hospital: Hospital, accession: str, *, ordered_for: str = "P-1", patient: str = "P-1", film: str = CHEST
) -> StudyInstanceUID:
    """An order, then its study, walked through to the report."""
    study = study_uid_of(accession)
    await hospital.order(accession, patient=ordered_for)
    await hospital.archive.store([copy_of(film, accession_number=accession, patient_id=patient)])
    await hospital.delivered(study)
    return study


def version(report: dict[str, Any]) -> str:
    return str(report["meta"]["versionId"])


async def test_order_first(hospital: Hospital) -> None:
    study = study_uid_of("E2E-FIRST")
    message = await hospital.order("E2E-FIRST")
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-FIRST", patient_id="P-1")])
    await hospital.delivered(study)

    assert [r.value for r in hospital.of(topics.HL7_RAW) if b"E2E-FIRST" in r.value] == [message]
    result = last_result(hospital, study)
    assert result.model is not None
    assert result.findings, "the film shows several large masses"
    assert [str(order.accession_number) for order in result.subject.orders] == ["E2E-FIRST^HOSPITAL"]
    report = await hospital.report("E2E-FIRST")
    assert report["status"] == "partial"
    assert version(report) == "1"


async def test_every_record_names_its_cause_and_its_trace(hospital: Hospital) -> None:
    study = study_uid_of("E2E-FIRST")
    await hospital.delivered(study)
    places = {str(record.place): record for record in hospital.records}
    record = hospital.of(topics.DELIVERIES, study)[-1]
    walked, traces = [record.place.topic], {(record.header("traceparent") or "")[3:35]}
    while cause := record.header("cause"):
        record = places[cause]
        for header in ("ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "content-type", "traceparent"):
            assert record.header(header), f"{record.place} lacks {header}"
        walked.append(record.place.topic)
        traces.add((record.header("traceparent") or "")[3:35])
    way = (topics.DELIVERIES, topics.FINDINGS, topics.RESULTS, topics.REQUESTS, topics.STUDIES, topics.NOTICES)
    assert walked == [topic.name for topic in way]
    assert len(traces) == 1


async def test_study_first_by_c_store(hospital: Hospital, tmp_path: Path) -> None:
    study = study_uid_of("E2E-LATER")
    file = tmp_path / "chest.dcm"
    file.write_bytes(copy_of(CHEST, accession_number="E2E-LATER", patient_id="P-1"))
    port = str(hospital.engine.services.ports.orthanc_dicom)
    subprocess.run(["storescu", "-aec", "ORTHANC", "127.0.0.1", port, str(file)], check=True, timeout=30)
    await hospital.until("the study is on imaging.studies", lambda _: hospital.of(topics.STUDIES, study))
    await hospital.order("E2E-LATER")
    await hospital.delivered(study)
    assert len(last_result(hospital, study).subject.orders) == 1
    assert version(await hospital.report("E2E-LATER")) == "1"


async def test_one_study_two_orders(hospital: Hospital) -> None:
    study = study_uid_of("E2E-TWO")
    await hospital.order("E2E-TWO", placer="PL-A")
    await hospital.order("E2E-TWO", placer="PL-B")
    await hospital.until("both orders", lambda _: sum(b"E2E-TWO" in r.value for r in hospital.of(topics.ORDERS)) == 2)
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-TWO", patient_id="P-1")])

    def both(_: list[Record]) -> bool:
        return any(len(findings_of(r).subject.orders) == 2 for r in hospital.of(topics.RESULTS, study))

    await hospital.until("a result that names both orders", both)
    last = last_result(hospital, study)
    await hospital.delivered(study, last.subject.sequence)
    based_on = {reference["identifier"]["value"] for reference in (await hospital.report("E2E-TWO"))["basedOn"]}
    assert {"PL-A", "PL-B"} <= based_on


async def test_one_order_two_studies(hospital: Hospital) -> None:
    studies = [StudyInstanceUID(f"{study_uid_of('E2E-PAIR')[:50]}.{number}") for number in (1, 2)]
    await hospital.order("E2E-PAIR")
    for study in studies:
        await hospital.archive.store([copy_of(CHEST, accession_number="E2E-PAIR", patient_id="P-1", study=study)])
    for study in studies:
        await hospital.delivered(study)
    reports = [r for r in await hospital.fhir.search_reports("E2E-PAIR") if r["resourceType"] == "DiagnosticReport"]
    assert len({report["id"] for report in reports}) == 2


async def test_a_study_whose_order_never_comes_and_then_does(hospital: Hospital) -> None:
    study = study_uid_of("E2E-LOST")
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-LOST", patient_id="P-1")])
    first = await hospital.delivered(study)
    assert last_result(hospital, study).subject.orders == ()
    report = await hospital.report("E2E-LOST")
    assert "no order" in report["conclusion"].lower()

    await hospital.order("E2E-LOST")
    await hospital.delivered(study, first["sequence"] + 1)
    again = await hospital.report("E2E-LOST")
    assert again["id"] == report["id"]
    assert version(again) == "2"
    assert "no order" not in again["conclusion"].lower()


async def test_an_order_with_a_placer_number_alone_is_held_and_linked_later(hospital: Hospital) -> None:
    study = study_uid_of("E2E-HELD")
    await hospital.order(None, placer="PL-HELD")
    await hospital.until("the order", lambda _: any(b"PL-HELD" in r.value for r in hospital.of(topics.ORDERS)))
    await hospital.order("E2E-HELD", placer="PL-HELD", order_control="SC")
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-HELD", patient_id="P-1")])
    await hospital.delivered(study)
    orders = last_result(hospital, study).subject.orders
    assert [order.placer_order_number.value for order in orders if order.placer_order_number] == ["PL-HELD"]


async def test_a_leg_is_not_analysed_and_says_so(hospital: Hospital) -> None:
    study = await examined(hospital, "E2E-LEG", film=EXTREMITY)
    assert reason(last_result(hospital, study)) is NotAnalysedReason.WRONG_BODY_PART
    report = await hospital.report("E2E-LEG")
    assert report["status"] == "cancelled"
    assert report["conclusion"]


async def test_a_leg_whose_header_says_chest_is_not_analysed_for_what_its_pixels_show(hospital: Hospital) -> None:
    study = study_uid_of("E2E-LIE")
    dataset = pydicom.dcmread(io.BytesIO(copy_of(EXTREMITY, accession_number="E2E-LIE", patient_id="P-1")))
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    for text in ("SeriesDescription", "ProtocolName"):
        dataset.pop(text, None)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    await hospital.order("E2E-LIE")
    await hospital.archive.store([file.getvalue()])
    await hospital.delivered(study)
    said = last_result(hospital, study).not_analysed
    assert said is not None and said.reason is NotAnalysedReason.WRONG_BODY_PART and "pixels" in said.explanation


async def test_a_wrong_modality_is_not_analysed_and_says_so(hospital: Hospital) -> None:
    study = study_uid_of("E2E-MODALITY")
    dataset = pydicom.dcmread(io.BytesIO(copy_of(CHEST, accession_number="E2E-MODALITY", patient_id="P-1")))
    dataset.Modality = "XA"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    await hospital.order("E2E-MODALITY")
    await hospital.archive.store([file.getvalue()])
    await hospital.delivered(study)
    assert reason(last_result(hospital, study)) is NotAnalysedReason.WRONG_MODALITY
    assert (await hospital.report("E2E-MODALITY"))["status"] == "cancelled"


async def test_a_his_that_produces_straight_onto_the_topic(hospital: Hospital) -> None:
    """No MLLP and not one header: the record's own bytes and time are enough."""
    study = study_uid_of("E2E-DIRECT")
    assigner = hospital.engine.settings.site.default_assigner
    message = order_for("E2E-DIRECT", patient="P-1", assigner=assigner, at=datetime.now(UTC), control_id="DIRECT")
    await hospital.log.append([Outgoing(topics.HL7_RAW.name, b"HIS|HOSPITAL", message)])
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-DIRECT", patient_id="P-1")])
    await hospital.delivered(study)
    assert len(last_result(hospital, study).subject.orders) == 1


async def test_a_study_of_another_patient_is_never_given_findings(hospital: Hospital) -> None:
    study = await examined(hospital, "E2E-WRONG", ordered_for="P-1", patient="P-2")
    assert reason(last_result(hospital, study)) is NotAnalysedReason.IDENTITY_MISMATCH


def patient_message(event: str, patient: str, other: str, control_id: str) -> bytes:
    """ADT^A40: `other` is from now on `patient`; ADT^A37: the two are not one person (v2.5.1 3.3.40, 3.3.37)."""
    second = f"MRG|{other}^^^HOSPITAL^MR" if event == "A40" else f"PID|2||{other}^^^HOSPITAL^MR"
    at = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f")[:-2] + "+0000"
    segments = (
        f"MSH|^~\\&|HIS|HOSPITAL|||{at}||ADT^{event}|{control_id}|P|2.5.1",
        f"EVN||{at}",
        f"PID|1||{patient}^^^HOSPITAL^MR",
        second,
    )
    return "".join(f"{segment}\r" for segment in segments).encode()


async def test_a_merge_gives_the_findings_to_the_patient_who_stays_and_an_unlink_takes_them_back(hospital: Hospital) -> None:
    study = await examined(hospital, "E2E-MERGED", ordered_for="P-NEW", patient="P-OLD")
    refused = last_result(hospital, study)
    assert reason(refused) is NotAnalysedReason.IDENTITY_MISMATCH
    assert refused.subject.patient is None

    await hospital.send(patient_message("A40", "P-NEW", "P-OLD", "MERGE"))
    await hospital.delivered(study, next_after(refused.subject.sequence))
    found = last_result(hospital, study)
    assert found.findings
    assert str(found.subject.patient and found.subject.patient.value) == "P-NEW"
    assert (await hospital.report("E2E-MERGED"))["status"] == "partial"

    await hospital.send(patient_message("A37", "P-NEW", "P-OLD", "UNLINK"))
    await hospital.delivered(study, next_after(found.subject.sequence))
    assert reason(last_result(hospital, study)) is NotAnalysedReason.IDENTITY_MISMATCH
    assert (await hospital.report("E2E-MERGED"))["status"] == "cancelled"


async def test_an_order_cancelled_after_the_analysis_withdraws_the_findings(hospital: Hospital) -> None:
    study = await examined(hospital, "E2E-LATE-CANCEL")
    assert (await hospital.report("E2E-LATE-CANCEL"))["status"] == "partial"
    found = last_result(hospital, study)
    await hospital.order("E2E-LATE-CANCEL", order_control="CA")
    await hospital.delivered(study, next_after(found.subject.sequence))
    assert reason(last_result(hospital, study)) is NotAnalysedReason.ORDER_CANCELLED
    assert (await hospital.report("E2E-LATE-CANCEL"))["status"] == "cancelled"


async def test_sent_twice_is_one_report_in_its_first_version(hospital: Hospital) -> None:
    study = study_uid_of("E2E-TWICE")
    film = copy_of(CHEST, accession_number="E2E-TWICE", patient_id="P-1")
    message = await hospital.order("E2E-TWICE", control_id="TWICE")
    await hospital.archive.store([film])
    await hospital.delivered(study)
    before = len(hospital.of(topics.DELIVERIES, study))

    await hospital.send(message)
    await hospital.archive.store([film])
    await hospital.until("the second order is told again", lambda _: len(hospital.of(topics.DELIVERIES, study)) > before)
    report = await hospital.report("E2E-TWICE")
    assert version(report) == "1"
    assert len({r.header("ce_id") for r in hospital.of(topics.REQUESTS, study)}) == 1


async def test_one_more_image_gives_a_new_version_and_supersedes(hospital: Hospital) -> None:
    study = study_uid_of("E2E-MORE")
    await hospital.order("E2E-MORE")
    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-MORE", patient_id="P-1", instance=1)])
    first = await hospital.delivered(study)
    old = await hospital.report("E2E-MORE")

    await hospital.archive.store([copy_of(CHEST, accession_number="E2E-MORE", patient_id="P-1", instance=2)])
    await hospital.delivered(study, first["sequence"] + 1)
    new = await hospital.report("E2E-MORE")
    assert new["id"] == old["id"]
    assert version(new) == "2"
    gone = {r["reference"] for r in old["result"]} - {r["reference"] for r in new["result"]}
    assert gone
    for reference in gone:
        superseded = await hospital.fhir.read(reference)
        assert superseded is not None
        assert superseded["status"] == "entered-in-error"
    assert len(last_result(hospital, study).images) == 2


async def test_every_revision_has_one_end_state(hospital: Hospital) -> None:
    """Over everything that the tests before this one sent: no request without a result, no state told twice otherwise."""
    by_id: dict[str, set[bytes]] = {}
    for record in hospital.of(topics.RESULTS):
        said = findings_of(record)
        if said.verified_at is None:  # marked, the same analysis is told again in a state of its own
            by_id.setdefault(str(said.analysis_id), set()).add(record.value)
    requested = {record.header("ce_id") for record in hospital.of(topics.REQUESTS)}
    dead = {json.loads(r.value).get("id") for r in hospital.of(topics.DEAD_LETTERS) if r.header("topic") == topics.REQUESTS.name}
    assert requested
    assert requested <= set(by_id) | dead
    assert not set(by_id) & dead
    assert all(len(values) == 1 for values in by_id.values()), "one analysis said two different things"
