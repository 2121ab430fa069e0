"""All examples of all states against the official base R4 definitions, offline, by a validator that is not ours."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from streams.services.build import ensure_built
from tests.conftest import absent
from tests.contract.example_findings import SITE, every_state

_VERDICT = re.compile(r"(?P<name>[^/]+)\.json: (?P<verdict>OK|FAILED), (?P<errors>\d+) errors")


@pytest.fixture(scope="session")
def validator() -> Path:
    """The jar, built by Maven when it is missing or older than its source."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        absent("Java or Maven (for the FHIR validator)")
    return ensure_built("fhir-validator", print) / "fhir-validator.jar"


@pytest.mark.service
def test_every_state_is_valid_r4(validator: Path, tmp_path: Path) -> None:
    origin = Origin("0af7651916cd43dd8448eb211c80319c", ("hl7.v2.raw/3/17", "ai.requests/0/4"))
    states = {name: bundle_of(findings, SITE, origin) for name, findings in every_state().items()}
    chinese = replace(SITE, language="zh-TW")
    states |= {f"{name}-zh-TW": bundle_of(findings, chinese, origin) for name, findings in every_state().items()}
    resources = {
        f"{name}-{number}-{entry['resource']['resourceType']}": json.dumps(entry["resource"]).encode()
        for name, bundle in states.items()
        for number, entry in enumerate(json.loads(bundle)["entry"])
        if name in ("present", "not-analysed-late", "devices-and-nodule", "devices-alone", "measure-alone", "two-images")
    }
    # that it can find an error at all: a status outside its required value set, and a missing required element
    broken = states["present"].replace(b'"status":"partial"', b'"status":"partly"')
    truncated = json.loads(resources["present-1-Observation"])
    del truncated["code"]
    wrong = {"broken-status": broken, "broken-observation": json.dumps(truncated).encode()}

    files = []
    for name, value in (states | resources | wrong).items():
        file = tmp_path / f"{name}.json"
        file.write_bytes(value)
        files.append(str(file))
    java = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquiet=true", "-jar", str(validator)]
    done = subprocess.run([*java, *files], capture_output=True, text=True, timeout=90, check=False)

    verdicts = {found["name"]: found["verdict"] for found in _VERDICT.finditer(done.stdout)}
    assert verdicts == dict.fromkeys(states | resources, "OK") | dict.fromkeys(wrong, "FAILED"), done.stdout
    assert done.returncode == 1
