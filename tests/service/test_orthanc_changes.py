"""Orthanc's change feed, on a real Orthanc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from connectors.dicomweb import DicomWebArchive
from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import InvalidResource, ItemNotServed
from schemas.identifiers import StudyInstanceUID
from schemas.notices import StudyNoticed
from schemas.study_ports import NoticeBatch
from streams.services import ServicePorts, running_services
from tests.contract.example_images import part10, radiograph, structured_report, study_of
from tests.contract.orthanc_archive import orthanc_archive
from tests.service.away import away

pytestmark = pytest.mark.service
_DEADLINE_S = 60


@pytest.fixture
def archive(orthanc_url: str) -> Iterator[DicomWebArchive]:
    archive = orthanc_archive(orthanc_url)
    yield archive
    archive.close()


@pytest.fixture
def changes(orthanc_url: str) -> Iterator[OrthancChanges]:
    changes = OrthancChanges(orthanc_url, timeout_s=20)
    yield changes
    changes.close()


@pytest.fixture
def now(orthanc_url: str) -> str:
    """The end of the feed before the test."""
    return str(requests.get(f"{orthanc_url}/changes?last", timeout=10).json()["Last"])


async def _until(changes: OrthancChanges, position: str, study: StudyInstanceUID) -> tuple[StudyNoticed, str]:
    deadline = time.monotonic() + _DEADLINE_S
    current: str | None = position
    while time.monotonic() < deadline:
        batch = await changes.noticed_since(current)
        current = batch.position
        for event in batch.notices:
            if event.study_instance_uid == study:
                assert current is not None
                return event, current
        await asyncio.sleep(0.2)  # Orthanc is asked: there is no event to await
    raise AssertionError(f"no change of the study within {_DEADLINE_S} s")


async def test_a_stable_study_is_complete(changes: OrthancChanges, archive: DicomWebArchive, now: str) -> None:
    image = radiograph()
    second = radiograph(StudyInstanceUID=image.StudyInstanceUID)
    await archive.store([part10(image), part10(second), part10(structured_report(image.StudyInstanceUID))])

    notice, position = await _until(changes, now, study_of(image))

    assert (notice.source, notice.settled, notice.removed) == ("orthanc:changes", True, False)
    assert len((await archive.describe(study_of(image))).instances) == 3
    assert abs(datetime.now(UTC) - notice.time) < timedelta(seconds=2 * _DEADLINE_S)
    assert int(position.split()[0]) >= int(notice.source_position) > int(now)


async def test_from_the_same_position_the_same_event_comes_again(
    changes: OrthancChanges, archive: DicomWebArchive, now: str
) -> None:
    image = radiograph()
    await archive.store([part10(image)])
    event, position = await _until(changes, now, study_of(image))
    again, _ = await _until(changes, now, study_of(image))
    assert again == event
    batch = await changes.noticed_since(position)
    assert event.study_instance_uid not in {later.study_instance_uid for later in batch.notices}


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
    assert await changes.noticed_since("999999999") == NoticeBatch((), "0")


@pytest.mark.parametrize("kill", [False, True])
async def test_a_study_that_was_not_yet_stable_when_orthanc_restarted_is_not_lost(tmp_path: Path, kill: bool) -> None:
    with running_services(tmp_path, ServicePorts.free(), only=("orthanc",), stable_age_seconds=4, tell=lambda line: None) as own:
        archive = orthanc_archive(own.orthanc_url)
        changes = OrthancChanges(own.orthanc_url, timeout_s=20)
        image = radiograph()
        await archive.store([part10(image)])
        batch = await changes.noticed_since(None)
        assert not batch.notices
        async with away(own, "orthanc", kill=kill):
            pass
        await _until(changes, str(batch.position), study_of(image))
        changes.close()
        archive.close()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
async def test_a_study_that_breaks_the_standard_is_noticed_and_cannot_be_described(
    changes: OrthancChanges, archive: DicomWebArchive, orthanc_url: str, now: str
) -> None:
    broken = radiograph()
    broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = f"{broken.SOPInstanceUID[:50]}.01"
    requests.post(f"{orthanc_url}/instances", data=part10(broken), timeout=10).raise_for_status()
    await _until(changes, now, study_of(broken))
    with pytest.raises(InvalidResource):
        await archive.describe(study_of(broken))


async def test_a_study_whose_file_is_gone_is_noticed_and_not_served(tmp_path: Path) -> None:
    """Orthanc answers 500 for it and is well."""
    with running_services(tmp_path, ServicePorts.free(), only=("orthanc",), stable_age_seconds=1, tell=lambda line: None) as own:
        archive = orthanc_archive(own.orthanc_url)
        changes = OrthancChanges(own.orthanc_url, timeout_s=20)
        lost = radiograph()
        await archive.store([part10(lost)])
        await _until(changes, "0", study_of(lost))
        images = (await archive.describe(study_of(lost))).images
        files = [path for path in tmp_path.rglob("*") if path.is_file() and len(path.name) == 36]
        assert files
        async with away(own, "orthanc", kill=False):  # it holds files in memory
            for path in files:
                path.unlink()
        with pytest.raises(ItemNotServed):
            await archive.instance(study_of(lost), images[0])
        await _until(changes, "0", study_of(lost))
        with pytest.raises(ItemNotServed):
            await archive.describe(study_of(lost))
        changes.close()
        archive.close()
