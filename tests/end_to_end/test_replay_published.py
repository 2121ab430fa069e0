"""A case is replayed beside a running engine: with the model that spoke nothing differs; with another one what differs is named, a
person publishes it, and the FHIR server holds it, once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.acts import ReplayPublished
from schemas.findings import Findings
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.sequences import PUBLISHED, next_after
from streams.settings import as_environment
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.packages import FIRST, SECOND
from tests.end_to_end.test_commands import radstream

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

ACCESSION = "E2E-REPLAYED"
WHO = ("--approved-by", "Dr B", "--reason", "version 1 was asked for")


async def replayed(hospital: Hospital, name: str, model: str) -> None:
    chosen = ("--accession", ACCESSION, "--name", name, "--with", model, "--reason", "a test", "--rate", "0", "--run")
    environment = {**os.environ, **as_environment(hospital.engine.settings)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "streams", "replay", *chosen, env=environment)
    assert await asyncio.wait_for(process.wait(), 300) == 0, "it gives way to everything else, and loads a model"


async def difference(hospital: Hospital, name: str, *options: str) -> tuple[int, dict[str, Any]]:
    code, out, err = await radstream(hospital, "replay", "diff", name, "--json", *options)
    assert out, err
    found: dict[str, Any] = json.loads(out)
    return code, found


async def published(hospital: Hospital, name: str) -> dict[str, Any]:
    code, out, err = await radstream(hospital, "replay", "publish", name, "--all-changed", *WHO, "--json")
    assert code == 0, out + err
    (one,) = json.loads(out)
    return dict(one)


async def test_what_another_model_says_now_is_compared_and_published_once(hospital: Hospital, tmp_path: Path) -> None:
    study = study_uid_of(ACCESSION)
    await hospital.order(ACCESSION)
    await hospital.archive.store([copy_of(CHEST, accession_number=ACCESSION, patient_id="P-1")])
    first = await hospital.delivered(study)
    before = await hospital.report(ACCESSION)
    answer = Findings.model_validate_json(hospital.of(topics.RESULTS, study)[-1].value)
    assert answer.model is not None
    spoke = f"{answer.model.name}/{answer.model.version}"
    assert spoke in (FIRST, SECOND), "whichever other tests have promoted"
    other = SECOND if spoke == FIRST else FIRST

    await replayed(hospital, "e2e-same", spoke)
    code, same = await difference(hospital, "e2e-same")
    assert (code, same["compared"], same["changed"], same["not_comparable"], same["notes"]) == (0, 1, 0, 0, []), same

    await replayed(hospital, "e2e-other", other)
    page = tmp_path / "diff.html"
    code, changed = await difference(hospital, "e2e-other", "--html", str(page))
    assert (code, [one["study_instance_uid"] for one in changed["studies"]]) == (1, [study])
    assert changed["models"] == {"then": {spoke: 1}, "now": {other: 1}}
    assert {"decided", "analysed"}.isdisjoint(changed["kinds"]), changed
    assert study in page.read_text()
    code, against = await difference(hospital, "e2e-other", "--against", "e2e-same")
    assert (code, against["kinds"]) == (1, changed["kinds"])
    assert (await hospital.report(ACCESSION))["meta"] == before["meta"], "nobody outside has noticed any of it"

    told = await published(hospital, "e2e-other")
    assert (told["published"], told["sequence"]) == (True, first["sequence"] + PUBLISHED)
    await hospital.delivered(study, told["sequence"])
    after = await hospital.report(ACCESSION)
    assert (after["id"], after["status"]) == (before["id"], "partial")
    assert after["conclusion"] != before["conclusion"]
    now = Findings.model_validate_json(hospital.of(topics.RESULTS, study)[-1].value)
    assert now.model is not None
    assert (f"{now.model.name}/{now.model.version}", now.analysis_id != answer.analysis_id) == (other, True)

    again = await published(hospital, "e2e-other")
    assert (again["published"], again["nothing"]) == (False, "was published before")
    assert (await hospital.report(ACCESSION))["meta"] == after["meta"]
    acts = [r async for r in hospital.log.read(topics.AUDIT.name) if r.header("ce_type") == ReplayPublished.TYPE]
    assert [ReplayPublished.model_validate_json(act.value).study_instance_uid for act in acts] == [study]
    assert first["sequence"] == next_after(0)
