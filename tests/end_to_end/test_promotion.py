"""The model is changed three times while 100 studies go through: each DiagnosticReport names the model that really made it, which
is asked again here; none is missing, no process was restarted."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest

from connectors.decoding_worker import decode
from models.registry import load
from schemas.identifiers import SOPInstanceUID
from schemas.model_events import ModelPromoted, ModelTaken
from schemas.ports import Prediction, Record
from schemas.renderings.fhir.references import Site, report_id
from streams import topics
from streams.demo.radiographs import CHEST, copy_of, study_uid_of
from streams.promotion.promoting import run_promote
from streams.settings import Settings
from streams.steps.choosing import IntendedUse, as_the_rules_read_it
from streams.wiring.clients import package_folder
from tests.end_to_end.conftest import Hospital
from tests.end_to_end.packages import FIRST, SECOND
from tests.end_to_end.test_commands import radstream

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1800)]

#: at least
STUDIES = 100
#: studies with a result when each is promoted, at least
PROMOTIONS = ((15, SECOND), (35, FIRST), (55, SECOND))
#: of a probability: alone, and in a batch
TOLERANCE = 1e-4
#: pixels by which a film is moved, so that the films are not all the same
SHIFTS = (0, 40, 80, 120)


def film(number: int) -> bytes:
    """The chest of pydicom-data, moved a little to the side."""
    dataset = pydicom.dcmread(io.BytesIO(copy_of(CHEST, accession_number=f"PROMOTE-{number:03d}", patient_id="P-1")))
    dataset.PixelData = np.roll(dataset.pixel_array, SHIFTS[number % len(SHIFTS)], axis=1).tobytes()
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


class Said(NamedTuple):
    """Of a film."""

    probability: float
    threshold: float | None


def asked_again(settings: Settings) -> dict[tuple[str, int], Said]:
    """What each package says of each film, asked here and alone: by version, and shift."""
    found: dict[tuple[str, int], Said] = {}
    for reference in (FIRST, SECOND):
        model = load(package_folder(settings.models.url) / reference)
        for number, shift in enumerate(SHIFTS):
            part10 = film(number)
            uid = SOPInstanceUID(pydicom.dcmread(io.BytesIO(part10), stop_before_pixels=True).SOPInstanceUID)
            radiograph = as_the_rules_read_it(decode(part10, uid, settings.decoding.pixel_limit), IntendedUse())
            (said,) = model.predict_all([radiograph])
            assert isinstance(said, Prediction) and said.image.probability is not None
            found[model.identity.version, shift] = Said(said.image.probability, model.threshold)
        model.close()
    return found


async def on(hospital: Hospital, topic: topics.Topic) -> list[Record]:
    """All that is on the topic now. `hospital.of` is what was heard of it so far: that may be less, and proves no absence."""
    return [record async for record in hospital.log.read(topic.name)]


async def promoted(hospital: Hospital, reference: str) -> list[str]:
    """As the command does it; what it said."""
    name, _, version = reference.partition("/")
    said: list[str] = []
    well = await run_promote(
        hospital.engine.settings, name, version, approved_by="Dr A. Example", reason="a test", wait_s=240, say=said.append
    )
    assert well, said
    return said


async def test_three_promotions_under_load(hospital: Hospital) -> None:
    settings, supervisor = hospital.engine.settings, hospital.engine.supervisor
    accessions: list[str] = []
    studies: set[str] = set()
    restarts = dict(supervisor.restarts)

    def results() -> set[bytes]:
        return {r.key for r in hospital.of(topics.RESULTS) if r.key and r.key.decode() in studies}

    def enough(due: int, _: list[Record]) -> bool:
        return len(results()) >= due

    async def send(promoting: asyncio.Task[list[int]]) -> None:
        """Until the last promotion is in use, and a little longer: however slow the machine, each comes under load."""
        while len(accessions) < STUDIES or not promoting.done():
            number = len(accessions)
            accessions.append(f"PROMOTE-{number:03d}")
            studies.add(study_uid_of(accessions[-1]))
            await hospital.order(accessions[-1])
            await hospital.archive.store([await asyncio.to_thread(film, number)])

    async def promote() -> list[int]:
        """How many studies had a result when each was in use."""
        seen = []
        for due, reference in PROMOTIONS:
            await hospital.until(f"{due} results before {reference} is promoted", partial(enough, due), 300)
            said = await promoted(hospital, reference)
            assert any(line.endswith(f"uses {reference}.") for line in said), said
            seen.append(len(results()))
        return seen

    promoting = asyncio.create_task(promote())
    try:
        await send(promoting)
        seen = await promoting
        assert seen[0] < seen[1] < seen[2] < len(studies), f"a promotion was not under load: {seen}"

        def delivered() -> set[str]:
            return {(r.key or b"").decode().rpartition("|")[2] for r in hospital.of(topics.DELIVERIES)}

        await hospital.until("all delivered", lambda _: delivered() >= studies, 300)
        expected = await asyncio.to_thread(asked_again, settings)
        for shift in SHIFTS:
            first, second = expected["1", shift], expected["2", shift]
            assert abs(first.probability - second.probability) > 100 * TOLERANCE, "both say the same: nothing would be seen"
        spoke = [await _spoke(hospital, accession, number, expected) for number, accession in enumerate(accessions)]
        assert set(spoke) == {"1", "2"}, "both have spoken"
    finally:
        promoting.cancel()
        await asyncio.wait([promoting])
        await promoted(hospital, FIRST)  # other tests expect it
    assert supervisor.restarts == restarts, "a process was restarted"
    by_id: dict[str | None, set[bytes]] = {}
    for record in await on(hospital, topics.RESULTS):
        if record.key and record.key.decode() in studies:
            by_id.setdefault(record.header("ce_id"), set()).add(record.value)
    assert all(len(values) == 1 for values in by_id.values()), "one analysis said two different things"
    assert not [r for r in await on(hospital, topics.DEAD_LETTERS) if r.key and r.key.decode() in studies]
    told = await on(hospital, topics.MODELS)
    acts = await promotions(hospital)
    audited = [r.value for r in await on(hospital, topics.AUDIT) if r.header("ce_type") == ModelPromoted.TYPE]
    assert [r.value for r in acts] == audited
    taken = [r for r in told if r.header("ce_type") == ModelTaken.TYPE and r.value]
    assert {str(r.place) for r in acts[:3]} <= {r.header("cause") for r in taken}


async def _spoke(hospital: Hospital, accession: str, number: int, expected: dict[tuple[str, int], Said]) -> str:
    """The version that the report of this study names, once what it says is found to be what that one says."""
    site = Site(assigner=hospital.engine.settings.site.default_assigner)
    report = await hospital.report(accession)  # exactly one
    assert report["id"] == str(report_id(study_uid_of(accession), site))
    assert report["status"] == "partial"
    root = await _read(hospital, report["result"][0]["reference"])
    device = await _read(hospital, root["device"]["reference"])
    (version,) = [one["value"] for one in device["version"] if one["type"]["coding"][0]["code"] == "software-version"]
    probability, threshold = (component["valueQuantity"]["value"] for component in root["component"])
    said = expected[version, SHIFTS[number % len(SHIFTS)]]
    assert abs(float(probability) - said.probability) <= TOLERANCE
    assert float(threshold) == said.threshold
    return str(version)


async def _read(hospital: Hospital, reference: str) -> dict[str, Any]:
    found = await hospital.fhir.read(reference)
    assert found is not None, reference
    return found


async def test_a_version_that_does_not_exist_changes_nothing(hospital: Hospital) -> None:
    before = await promotions(hospital)
    code, _, err = await radstream(hospital, "model", "promote", "chest-nodule", "7", "--approved-by", "Dr A", "--reason", "why")
    assert code == 2
    assert "there are chest-gate/1, chest-nodule/1, chest-nodule/2" in err
    assert await promotions(hospital) == before


async def promotions(hospital: Hospital) -> list[Record]:
    """Not what workers say: they may speak at any time."""
    return [record for record in await on(hospital, topics.MODELS) if record.header("ce_type") == ModelPromoted.TYPE]
