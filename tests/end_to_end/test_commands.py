"""The command line beside a running engine, as an integration engineer uses it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.settings import as_environment
from streams.wiring import ROLES
from tests.end_to_end.conftest import Hospital

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session")]

ACCESSION, PATIENT = "E2E-COMMANDS", "MRN-SECRET-77"


async def radstream(hospital: Hospital, *arguments: str, **overrides: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `radstream ARGUMENTS` with the engine's settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **as_environment(hospital.engine.settings), "COLUMNS": "300", **overrides},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def as_json(hospital: Hospital, *arguments: str) -> Any:
    code, out, err = await radstream(hospital, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


async def test_case_tells_the_whole_walk(hospital: Hospital) -> None:
    study = study_uid_of(ACCESSION)
    await hospital.order(ACCESSION, patient=PATIENT)
    await hospital.archive.store([copy_of(CHEST, accession_number=ACCESSION, patient_id=PATIENT)])
    await hospital.delivered(study)
    walk = {t.name for t in (topics.ORDERS, topics.STUDIES, topics.REQUESTS, topics.RESULTS, topics.FINDINGS, topics.DELIVERIES)}

    async with asyncio.timeout(30):
        while True:  # the view is written beside the walk: it may be a moment behind
            code, out, _ = await radstream(hospital, "case", ACCESSION, "--json")
            entries = json.loads(out) if code == 0 else []
            if {entry["place"].rpartition("/")[0].rpartition("/")[0] for entry in entries} >= walk:
                break
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert PATIENT not in json.dumps(entries)


async def test_a_file_is_sent_and_is_on_the_log_byte_for_byte(hospital: Hospital, shared_data: Path) -> None:
    report = shared_data / "hl7" / "radiology-oru" / "19950402_0.hl7"
    outcome = await as_json(hospital, "send", str(report))
    assert outcome["answers"] == {"AA": 1}
    await hospital.until(
        "the report on the log", lambda _: any(record.value == report.read_bytes() for record in hospital.of(topics.HL7_RAW))
    )


async def test_an_unknown_case_says_so(hospital: Hospital) -> None:
    code, _, err = await radstream(hospital, "case", "NO-SUCH-CASE")
    assert code == 1
    assert "NO-SUCH-CASE" in err
    assert "dead-letters" in err
    assert "radstream doctor" in err


async def test_tail_hides_values_unless_asked(hospital: Hospital) -> None:
    code, out, _ = await radstream(hospital, "tail", topics.HL7_RAW.name, "-n", "1000")
    assert code == 0
    assert "hl7.v2.raw/" in out
    assert PATIENT not in out
    _, out, _ = await radstream(hospital, "tail", topics.HL7_RAW.name, "-n", "1000", "--values")
    assert PATIENT in out


async def test_tail_of_an_unknown_topic_says_what_there_is(hospital: Hospital) -> None:
    code, _, err = await radstream(hospital, "tail", "ai.resluts")
    assert code == 2
    assert "radstream topics list" in err


async def test_topics_list(hospital: Hospital) -> None:
    sizes = {row["topic"]: row for row in await as_json(hospital, "topics", "list")}
    assert set(sizes) == {topic.name for topic in topics.ALL}
    assert sizes[topics.HL7_RAW.name]["records"] >= 1


async def test_doctor_finds_all_well(hospital: Hospital) -> None:
    examined = await as_json(hospital, "doctor")
    # other tests of the session send what is refused: a warning for each such sender and host, and no other warning
    warnings = [row for row in examined if row["what"].startswith(("sender ", "host "))]
    assert {row["what"] for row in examined if row not in warnings} == {
        "kafka", "archive", "fhir server", "database", "model", "objects", *ROLES,
    }  # fmt: skip
    assert all(row["well"] for row in examined), examined
    assert [row for row in examined if row["warning"]] == warnings


async def test_doctor_says_what_to_do(hospital: Hospital) -> None:
    code, out, _ = await radstream(hospital, "doctor", RADSTREAM_FHIR__URL="http://127.0.0.1:9/fhir")
    assert code == 1
    assert re.search(r"wrong\s+fhir server", out)
    assert "RADSTREAM_FHIR__URL" in out
    orthanc, fhir = hospital.engine.services.orthanc_url, hospital.engine.services.fhir_url
    _, out, _ = await radstream(hospital, "doctor", RADSTREAM_FHIR__URL=orthanc, RADSTREAM_ARCHIVE__DICOMWEB_URL=fhir)
    assert re.search(r"wrong\s+fhir server", out)
    assert re.search(r"wrong\s+archive", out)


async def test_wrong_settings_are_exit_code_2(hospital: Hospital) -> None:
    code, _, err = await radstream(hospital, "doctor", RADSTREAM_MLLP__PORT="none")
    assert code == 2
    assert "RADSTREAM_MLLP__PORT" in err
    assert "Traceback" not in err


async def test_no_log_of_any_role_holds_patient_data(hospital: Hospital) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in hospital.engine.settings.run_folder.glob("*.log")}
    assert len(logs) == len(ROLES)
    assert not [name for name, text in logs.items() if PATIENT in text or "Test^Patient" in text or "|PID|" in text]
