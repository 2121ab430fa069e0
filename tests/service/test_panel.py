"""The panel of the seed, from pixels to the receiver: a nodule with its place, and four devices, of a package for tests alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.fhir import FhirServer
from models.in_process import InProcess
from models.registry import load
from schemas.errors import SettingsInvalid
from schemas.findings import Findings
from schemas.ports import Place, Record
from schemas.renderings.fhir.references import Site, report_id
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.steps.analyse import analyse
from streams.steps.report import report
from streams.turns import Turns
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.panel_package import DEVICES, panel_package
from tests.contract.test_image_decoders import InProcessDecoder
from tests.unit.analyses import KeptInMemory, record_of, request_for, using

ACCESSION = "PANEL-1"


async def findings_of(package: Path) -> Findings:
    """What the package says of a real chest radiograph, through the step that asks it."""
    archive, study = FakeStudyArchive(), study_uid_of(ACCESSION)
    await archive.store([copy_of(CHEST, accession_number=ACCESSION, patient_id="P-1")])
    request = request_for(study, (await archive.describe(study)).images)
    model = InProcess(load(package, tests=True))
    try:
        (out,) = await analyse(
            record_of(request),
            archive=archive,
            decoder=InProcessDecoder(),
            models=using(model),
            decoding=Turns(),
            predicting=Turns(),
            kept=KeptInMemory(),
        )
    finally:
        await model.close()
    return Findings.model_validate_json(out.value)


@pytest.mark.service
async def test_every_output_of_the_panel_reaches_the_receiver(tmp_path: Path, fhir_url: str) -> None:
    package = panel_package(tmp_path)
    said = await findings_of(package)
    assert [output.name for output in said.outputs] == list(DEVICES)
    assert said.probability is not None and said.model is not None

    record = Record(Place(topics.RESULTS.name, 0, 0), b"k", said.model_dump_json().encode(), (), datetime(2026, 2, 2, tzinfo=UTC))
    site = Site(assigner="SITE")
    (bundle,) = await report(record, site=site)
    server = FhirServer(fhir_url, timeout_s=20)
    try:
        await server.put(bundle.value)
        stored = await server.read(f"DiagnosticReport/{report_id(said.subject.study_instance_uid, site)}")
        assert stored is not None
        found = [await server.read(one["reference"]) for one in stored["result"]]
    finally:
        await server.close()

    by_code: dict[str, dict[str, Any]] = {one["code"]["coding"][0]["code"]: one for one in found if one is not None}
    assert {code for code, _ in DEVICES.values()} <= by_code.keys()
    for output in said.outputs:
        observation = by_code[output.coding.code]
        values = [component["valueQuantity"]["value"] for component in observation["component"] if "valueQuantity" in component]
        assert float(values[0]) == pytest.approx(output.value, abs=1e-4)
        present = observation["valueCodeableConcept"]["coding"][0]["display"] == "Present"
        assert present is output.present
        assert observation["status"] == "preliminary"
    assert "nodule-or-mass-of-lung" in by_code, "the located findings are answered beside them"


def test_it_is_refused_where_patients_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="fixture of tests"):
        load(panel_package(tmp_path))
