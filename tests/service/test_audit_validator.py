"""Every kind of thing that is exported as AuditEvent against the official base R4 definitions, offline, by a validator that is not
ours. It has no profiles of IHE: what BALP requires, a unit test asks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from schemas.hl7v2.site import Site
from schemas.renderings.audited import Deed, Receiver, Surroundings
from schemas.renderings.fhir.audit_event import audit_event_of
from streams.audit.listing import Wanted, found
from streams.audit.tracing import with_patients
from tests.contract.example_findings import SITE
from tests.service.test_fhir_validator import _VERDICT, validator  # noqa: F401 - a fixture
from tests.unit.audited_acts import Yesterday, one_of_everything


@pytest.mark.service
@pytest.mark.timeout(400)
async def test_every_audit_event_is_valid_r4(validator: Path, tmp_path: Path) -> None:  # noqa: F811
    day = Yesterday()
    await one_of_everything(day)
    seen = await with_patients(day.history, await found(day.history, Wanted()), Site(default_assigner="HOSPITAL"))
    assert {one.deed for one in seen} == set(Deed)
    here = Surroundings("HOSPITAL", "0.1.0", "engine-1", {"fhir": Receiver("fhir", "http://127.0.0.1:8090/fhir")})
    events = {f"{number}-{one.deed.value}".replace(" ", "-"): audit_event_of(one, here, SITE) for number, one in enumerate(seen)}
    wrong = {"wrong-outcome": next(iter(events.values())) | {"outcome": "7"}}
    for name, event in (events | wrong).items():
        event.pop("meta", None)
        (tmp_path / f"{name}.json").write_text(json.dumps(event))
    files = [str(tmp_path / f"{name}.json") for name in events | wrong]
    java = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dquiet=true", "-jar", str(validator)]
    done = subprocess.run([*java, *files], capture_output=True, text=True, timeout=300, check=False)
    verdicts = {found["name"]: found["verdict"] for found in _VERDICT.finditer(done.stdout)}
    assert verdicts == dict.fromkeys(events, "OK") | dict.fromkeys(wrong, "FAILED"), done.stdout
