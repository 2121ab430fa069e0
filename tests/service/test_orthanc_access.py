"""A real Orthanc that asks for a password, at both of its doors."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import ArchiveUnavailable
from streams.services import ServiceError, ServicePorts
from streams.services.orthanc import configuration
from streams.services.service import program
from streams.settings import Settings
from streams.wiring.clients import archive_access, archive_for
from tests.conftest import absent
from tests.contract.example_images import part10, radiograph, study_of

pytestmark = pytest.mark.service
_DEADLINE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orthanc-access")


@pytest.fixture(scope="module")
def orthanc(folder: Path) -> Iterator[str]:
    """Its address; it may not answer yet."""
    try:
        command = program("Orthanc")
    except ServiceError as error:
        absent(f"orthanc ({error})")
    ports, data, file = ServicePorts.free(), folder / "data", folder / "orthanc.json"
    data.mkdir()
    asking = {"AuthenticationEnabled": True, "RegisteredUsers": {"radstream": "pa55word"}}
    file.write_text(json.dumps(configuration(ports, data, stable_age_seconds=1) | asking))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([command, str(file)], stdout=log, stderr=log)
    yield f"http://127.0.0.1:{ports.orthanc_http}"
    process.terminate()
    process.wait(_DEADLINE_S)


def _settings(orthanc: str, folder: Path, password: str) -> Settings:
    file = folder / password
    file.write_text(f"{password}\n")
    access = {"user": "radstream", "password_file": file}
    return Settings.model_validate({"archive": {"dicomweb_url": f"{orthanc}/dicom-web", "orthanc_url": orthanc, **access}})


@pytest.fixture
async def settings(orthanc: str, folder: Path) -> Settings:
    """Of an Orthanc that answers."""
    settings = _settings(orthanc, folder, "pa55word")
    with closing(archive_for(settings)) as archive:
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                try:
                    await archive.answers()
                except ArchiveUnavailable:  # it starts; each call tries for a while by itself
                    continue
                return settings


async def test_the_password_opens_both_doors(settings: Settings, orthanc: str) -> None:
    image = radiograph()
    with closing(archive_for(settings)) as archive:
        await archive.store([part10(image)])
        (reference,) = (await archive.describe(study_of(image))).images
        assert len(await archive.instance(study_of(image), reference)) >= len(image.PixelData)
        with closing(OrthancChanges(orthanc, timeout_s=20, access=archive_access(settings))) as changes:
            assert (await changes.noticed_since(None)).position is not None


async def test_a_wrong_password_is_refused_at_both(settings: Settings, orthanc: str, folder: Path) -> None:
    wrong = _settings(orthanc, folder, "wr0ng")
    with closing(archive_for(wrong)) as archive:
        with pytest.raises(ArchiveUnavailable, match="401.*renew token_file") as caught:
            await archive.answers()
        assert "wr0ng" not in str(caught.value)
        changes = OrthancChanges(orthanc, timeout_s=20, access=archive_access(wrong))
        with closing(changes), pytest.raises(ArchiveUnavailable, match="401.*renew token_file"):
            await changes.noticed_since(None)


async def test_a_password_that_is_corrected_lets_the_same_process_go_on(settings: Settings, orthanc: str, folder: Path) -> None:
    image = radiograph()
    with closing(archive_for(settings)) as archive:
        await archive.store([part10(image)])
    stale = _settings(orthanc, folder, "stale")
    with closing(archive_for(stale)) as archive:
        with pytest.raises(ArchiveUnavailable, match="renew"):
            await archive.describe(study_of(image))
        (folder / "stale").write_text("pa55word")
        assert (await archive.describe(study_of(image))).images
