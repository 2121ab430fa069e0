"""Orthanc's change feed, on a real Orthanc."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from connectors.dicomweb import DicomWebArchive
from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import ArchiveUnavailable, InvalidResource, ItemNotServed
from schemas.events import StudyCompleted, revision_of
from schemas.identifiers import AccessionNumber, StudyInstanceUID, identity
from schemas.ports import RefusedStudy, StudyBatch
from streams.services import ServicePorts, running_services
from tests.contract.example_images import part10, radiograph, structured_report, study_of, uid_of

pytestmark = pytest.mark.service
_DEADLINE_S = 60


def _archive(dicomweb_url: str) -> DicomWebArchive:
    return DicomWebArchive(
        dicomweb_url,
        timeout_s=20,
        size_limit=64 * 1024 * 1024,
        pool_size=2,
        default_accession_assigner="SITE",
        default_patient_assigner="SITE",
    )


@pytest.fixture
def archive(orthanc_url: str) -> Iterator[DicomWebArchive]:
    archive = _archive(f"{orthanc_url}/dicom-web")
    yield archive
    archive.close()


@pytest.fixture
def changes(orthanc_url: str, archive: DicomWebArchive) -> Iterator[OrthancChanges]:
    changes = OrthancChanges(orthanc_url, archive, timeout_s=20)
    yield changes
    changes.close()


@pytest.fixture
def now(orthanc_url: str) -> str:
    """The end of the feed before the test."""
    return str(requests.get(f"{orthanc_url}/changes?last", timeout=10).json()["Last"])


async def _until(changes: OrthancChanges, position: str, study: StudyInstanceUID) -> tuple[StudyCompleted, str]:
    deadline = time.monotonic() + _DEADLINE_S
    current: str | None = position
    while time.monotonic() < deadline:
        batch = await changes.completed_since(current)
        current = batch.position
        for event in batch.completed:
            if event.study_instance_uid == study:
                assert current is not None
                return event, current
        await asyncio.sleep(0.2)
    raise AssertionError(f"no change of the study within {_DEADLINE_S} s")


async def test_a_stable_study_is_complete(changes: OrthancChanges, archive: DicomWebArchive, now: str) -> None:
    image = radiograph()
    second = radiograph(StudyInstanceUID=image.StudyInstanceUID)
    await archive.store([part10(image), part10(second), part10(structured_report(image.StudyInstanceUID))])

    event, position = await _until(changes, now, study_of(image))

    assert {reference.sop_instance_uid for reference in event.images} == {uid_of(image), uid_of(second)}
    assert event.revision == revision_of(event.images)
    assert event.id == identity("study-completed", study_of(image), event.revision)
    assert event.accession_number == AccessionNumber(value="A1", assigner="SITE")
    assert event.source == "orthanc:changes"
    assert abs(datetime.now(UTC) - event.time) < timedelta(seconds=2 * _DEADLINE_S)
    assert int(position.split()[0]) >= int(event.source_position) > int(now)


async def test_from_the_same_position_the_same_event_comes_again(
    changes: OrthancChanges, archive: DicomWebArchive, now: str
) -> None:
    image = radiograph()
    await archive.store([part10(image)])
    event, position = await _until(changes, now, study_of(image))
    again, _ = await _until(changes, now, study_of(image))
    assert again == event
    batch = await changes.completed_since(position)
    assert event.study_instance_uid not in {later.study_instance_uid for later in batch.completed}


async def test_a_study_deleted_meanwhile_is_passed_over(
    changes: OrthancChanges, archive: DicomWebArchive, orthanc_url: str, now: str
) -> None:
    gone, kept = radiograph(), radiograph()
    await archive.store([part10(gone)])
    await _until(changes, now, study_of(gone))
    found = requests.post(f"{orthanc_url}/tools/lookup", data=str(gone.StudyInstanceUID), timeout=10).json()
    requests.delete(f"{orthanc_url}{found[0]['Path']}", timeout=10).raise_for_status()
    await archive.store([part10(kept)])
    event, _ = await _until(changes, now, study_of(kept))
    assert event.study_instance_uid == study_of(kept)


async def test_a_database_that_starts_anew_is_read_from_the_beginning(changes: OrthancChanges) -> None:
    """Orthanc was reset: its sequence is behind the position kept."""
    assert await changes.completed_since("999999999") == StudyBatch((), (), "0")


@pytest.mark.parametrize("kill", [False, True])
async def test_a_study_that_was_not_yet_stable_when_orthanc_restarted_is_not_lost(tmp_path: Path, kill: bool) -> None:
    with running_services(tmp_path, ServicePorts.free(), only=("orthanc",), stable_age_seconds=4, tell=lambda line: None) as own:
        archive = _archive(own.dicomweb_url)
        changes = OrthancChanges(own.orthanc_url, archive, timeout_s=20)
        image = radiograph()
        await archive.store([part10(image)])
        batch = await changes.completed_since(None)
        assert not batch.completed
        own.down("orthanc", kill=kill)
        own.up("orthanc")
        event, _ = await _until(changes, str(batch.position), study_of(image))
        assert event.images[0].sop_instance_uid == uid_of(image)
        changes.close()
        archive.close()


async def _refused_before(changes: OrthancChanges, position: str | None, study: StudyInstanceUID) -> list[RefusedStudy]:
    """The studies passed over once `study` is described."""
    refused: list[RefusedStudy] = []
    described = False
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            try:
                batch = await changes.completed_since(position)
            except ArchiveUnavailable:  # nothing can be described yet
                batch = StudyBatch((), (), position)
            refused += batch.refused
            described |= study in {event.study_instance_uid for event in batch.completed}
            if described and refused:
                return refused
            position = batch.position
            await asyncio.sleep(0.2)


async def _until_nothing_can_be_described(changes: OrthancChanges, position: str | None) -> str | None:
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            try:
                position = (await changes.completed_since(position)).position
            except ArchiveUnavailable:
                return position
            await asyncio.sleep(0.2)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
async def test_a_study_that_breaks_the_standard_is_passed_over_with_its_reason(
    changes: OrthancChanges, archive: DicomWebArchive, orthanc_url: str, now: str
) -> None:
    broken, good = radiograph(), radiograph()
    broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = f"{broken.SOPInstanceUID[:50]}.01"
    requests.post(f"{orthanc_url}/instances", data=part10(broken), timeout=10).raise_for_status()
    position = await _until_nothing_can_be_described(changes, now)
    await archive.store([part10(good)])
    (refused,) = await _refused_before(changes, position, study_of(good))
    found = requests.post(f"{orthanc_url}/tools/lookup", data=str(broken.StudyInstanceUID), timeout=10).json()
    assert json.loads(refused.change)["ID"] == found[0]["ID"]
    assert type(refused.error) is InvalidResource


async def test_a_study_whose_file_is_gone_does_not_block(tmp_path: Path) -> None:
    """Orthanc answers 500 for it and is well."""
    with running_services(tmp_path, ServicePorts.free(), only=("orthanc",), stable_age_seconds=1, tell=lambda line: None) as own:
        archive = _archive(own.dicomweb_url)
        changes = OrthancChanges(own.orthanc_url, archive, timeout_s=20)
        lost, good = radiograph(), radiograph()
        await archive.store([part10(lost)])
        event, _ = await _until(changes, "0", study_of(lost))
        files = [path for path in tmp_path.rglob("*") if path.is_file() and len(path.name) == 36]
        assert files
        for path in files:
            path.unlink()
        own.down("orthanc")  # it holds files in memory
        own.up("orthanc")
        with pytest.raises(ItemNotServed):
            await archive.instance(study_of(lost), event.images[0])
        await archive.store([part10(good)])
        (refused,) = await _refused_before(changes, None, study_of(good))
        assert type(refused.error) is ItemNotServed
        changes.close()
        archive.close()
