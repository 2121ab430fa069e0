"""Who did what, on a real Kafka and by the commands that people use."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from connectors.kafka import KafkaLog
from schemas.acts import Looked, SettingsChanged
from schemas.case_store import TimelineEntry
from schemas.errors import MalformedMessage, RadstreamError, SettingsInvalid
from schemas.events import DeliveryAcknowledged
from schemas.findings import Findings
from schemas.identifiers import PatientIdentifier, StudyInstanceUID
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.audit.settings_changed import audit_settings
from streams.cli import app
from streams.clock import SystemClock
from streams.dead_letter import dead_letter
from streams.emission import emit, emit_findings, headers
from streams.services import LocalServices
from streams.settings import Settings, as_environment
from streams.wiring.clients import case_store_for, ensure_all_topics, live_history_for
from tests.contract.example_findings import two_findings
from tests.unit.audited_acts import MESSAGE

pytestmark = [pytest.mark.service, pytest.mark.timeout(300)]

ME = f"tester-{uuid4()}"


async def radstream(settings: Settings, *arguments: str, **overrides: str) -> tuple[int, str, str]:
    """The command in a thread of this process: a process of its own takes seconds to begin."""
    environment = {**as_environment(settings), "COLUMNS": "300", **overrides}
    ended = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=environment)
    if isinstance(ended.exception, RadstreamError):
        return 2 if isinstance(ended.exception, SettingsInvalid) else 1, ended.stdout, str(ended.exception)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


def settings_of(broker: LocalServices, folder: Path) -> Settings:
    return Settings(
        run_folder=folder / "run",
        kafka={"bootstrap": broker.kafka_bootstrap},
        database={"url": f"sqlite:///{folder / 'radstream.db'}"},
        audit={"hash_key_file": folder / "hash.key"},
    )  # type: ignore[arg-type]


async def walked(log: KafkaLog) -> tuple[Findings, Place, Place, Place]:
    """A study of its own on the shared broker: its answer; where message, answer and dead letter stand."""
    number = uuid4().int
    patient = PatientIdentifier(value=f"MRN-{number}", assigner="HOSPITAL")
    said = two_findings()
    subject = said.subject.model_copy(update={"study_instance_uid": StudyInstanceUID(f"2.25.{number}"), "patient": patient})
    said = said.model_copy(update={"subject": subject, "analysis_id": uuid4()})
    at = SystemClock().now()
    told = headers(
        id=str(uuid4()), type="org.radstream.hl7v2.received.v1", time=at, cause=None, content_type="x-application/hl7-v2+er7"
    )
    message = MESSAGE.replace(b"MRN-1", patient.value.encode())
    (raw,) = await log.append([Outgoing(topics.HL7_RAW.name, b"RIS|A", message, told)])
    received = Record(raw, b"RIS|A", message, told, at)
    (answer,) = await log.append([emit_findings(said, received)])
    answered = Record(answer, None, b"", (), at)
    delivered = DeliveryAcknowledged(
        id=uuid4(),
        time=at,
        destination="fhir",
        study_instance_uid=subject.study_instance_uid,
        analysis_id=said.analysis_id,
        sequence=16,
        outcome="stored",
        acknowledgement=f"DiagnosticReport/{uuid4()}/_history/1",
    )
    letter = dead_letter(received, "normalise", MalformedMessage("normalise", "ORC-1", "is none"), 1)
    _, buried = await log.append([emit(topics.DELIVERIES, f"fhir|{delivered.study_instance_uid}", delivered, answered), letter])
    return said, raw, answer, buried


async def test_what_was_seen_and_what_was_done_is_told(broker: LocalServices, tmp_path: Path) -> None:
    settings = settings_of(broker, tmp_path)
    await asyncio.to_thread(ensure_all_topics, settings)
    async with KafkaLog(settings.kafka.bootstrap) as log:
        said, raw, answer, buried = await walked(log)
    study, accession, patient = said.subject.study_instance_uid, f"ACC-{uuid4()}", said.subject.patient
    assert patient is not None
    cases = case_store_for(settings)
    await cases.put_timeline(TimelineEntry(SystemClock().now(), answer, "org.radstream.findings.v1", "said", study, accession))
    await cases.close()

    # three looks, and each is told before anything is shown
    code, out, err = await radstream(settings, "case", accession, "--by", ME, "--reason", "asked by the ward")
    assert (code, study in out) == (0, True), err
    code, out, err = await radstream(settings, "case", "NO-SUCH-NUMBER", "--by", ME)
    assert code == 1
    code, out, err = await radstream(settings, "tail", raw.topic, "-n", "1", "--values", "--by", ME)
    assert (code, patient.value in out) == (0, True), err
    code, out, err = await radstream(settings, "tail", raw.topic, "-n", "1", "--by", ME)
    assert (code, patient.value in out) == (0, False), err

    rows = await listed(settings, "--by", ME)
    assert [row["what"] for row in rows] == ["saw 1 record (case)", "looked (case)", *[row["what"] for row in rows[2:]]]
    assert all(row["what"].endswith("(tail)") for row in rows[2:])
    assert str(raw) in [place for row in rows[2:] for place in row["places"]]
    assert rows[0]["reason"] == "asked by the ward"
    assert [row["place"] for row in await listed(settings, "--accession", f"{accession}^HOSPITAL")] == [rows[0]["place"]]
    assert str(raw) in [place for row in await listed(settings, "--place", str(raw), "--people") for place in row["places"]]

    (delivery,) = await listed(settings, "--study", study, "--engine", "--causes")
    assert [cause["place"] for cause in delivery["causes"]] == [str(answer), str(raw)]

    exports = {}
    for format in ("balp", "dicom", "syslog"):
        file = tmp_path / format
        code, out, err = await radstream(
            settings, "audit", "export", "--format", format, "--out", str(file), "--since", "1h", "--by", ME
        )
        assert (code, out) == (0, ""), err
        exports[format] = file.read_text("utf-8").splitlines()
        assert sum(patient.value in line for line in exports[format]) >= 4, "the case, the tail, the delivery, the dead letter"
    events = [json.loads(line) for line in exports["balp"]]
    of_study = [event for event in events if study in json.dumps(event) and event["type"]["code"] == "rest"]
    assert len(of_study) == 1
    assert str(buried) in "".join(exports["dicom"])
    assert [row["deed"] for row in await listed(settings, "--by", ME)][-3:] == ["audit exported"] * 3
    code, out, err = await radstream(settings, "audit", "export", "--out", "-", "--since", "1h", "--without-patients")
    assert (code, patient.value in out, study in out) == (0, False, True), err
    assert "patients are left out" in err


async def listed(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    code, out, err = await radstream(settings, "audit", "list", "--since", "1h", "-n", "1000", "--json", *arguments)
    assert code == 0, err
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


async def test_what_cannot_be_audited_is_not_shown(broker: LocalServices, tmp_path: Path) -> None:
    """The broker is away: the database alone could show a case."""
    settings = settings_of(broker, tmp_path)
    cases = case_store_for(settings)
    await cases.put_timeline(TimelineEntry(SystemClock().now(), Place("ai.results", 0, 0), "t", "said", None, "ACC-AWAY"))
    await cases.close()
    code, out, err = await radstream(settings, "case", "ACC-AWAY", RADSTREAM_KAFKA__BOOTSTRAP="127.0.0.1:1")
    assert (code, out) == (1, ""), err
    code, out, err = await radstream(settings, "case", "ACC-AWAY", "--by", " ")
    assert (code, out) == (2, "")
    assert "--by: says who does it" in err


async def test_changed_settings_are_told_on_the_log(broker: LocalServices, tmp_path: Path) -> None:
    settings = settings_of(broker, tmp_path)
    await asyncio.to_thread(ensure_all_topics, settings)
    changed = settings.model_copy(update={"runner": settings.runner.model_copy(update={"window": 7})})
    async with KafkaLog(settings.kafka.bootstrap) as log:
        for now in (settings, settings, changed):
            await audit_settings(log, live_history_for(now), now, by=ME, clock=SystemClock())
        told = [
            SettingsChanged.model_validate_json(record.value)
            async for record in log.read(topics.AUDIT.name)
            if record.header("ce_type") == SettingsChanged.TYPE and str(tmp_path).encode() in (record.key or b"")
        ]
        looks = [record async for record in log.read(topics.AUDIT.name) if record.header("ce_type") == Looked.TYPE]
    assert [act.names for act in told][1:] == [("RADSTREAM_RUNNER__WINDOW",)]
    assert all(str(tmp_path) not in record.value.decode() for record in looks)
