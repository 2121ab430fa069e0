"""The process of the role `work render` as the supervisor has it: real Kafka, Orthanc and S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from connectors.kafka import KafkaLog
from connectors.objects import Objects
from schemas.events import FINDINGS_TYPE
from schemas.findings import AnalysedImage, Findings, ModelIdentity, Subject
from schemas.identifiers import identity
from streams import topics
from streams.emission import emit_value
from streams.health import read_health
from streams.pictures import picture_name
from streams.services import LocalServices
from streams.settings import ArchiveSettings, DatabaseSettings, KafkaSettings, ObjectSettings, Settings, as_environment
from streams.supervisor import Supervisor
from streams.wiring.clients import archive_for, ensure_all_topics, object_store_for
from tests.contract.example_images import part10, radiograph, study_of, uid_of
from tests.contract.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, s3_server
from tests.service.analyse_process import decoding_processes, resident_mib

#: the first one may have to build the S3 server
pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]
ROLE = "work render"


@dataclass
class Rendering:
    """`folder` holds what the role writes on this machine."""

    folder: Path
    settings: Settings
    supervisor: Supervisor
    log: KafkaLog
    server: S3Server
    objects: Objects

    async def analysed(self, *images: Dataset) -> None:
        """Each a study of its own, in the archive and on ai.results."""
        archive = archive_for(self.settings)
        await archive.store([part10(image) for image in images])
        archive.close()
        await self.log.append([_result(image) for image in images])

    async def until_all(self, *images: Dataset) -> list[bytes]:
        """Their pictures. Raises TimeoutError."""
        pngs = []
        async with asyncio.timeout(90):
            for image in images:
                while (png := await self.objects.get(_name(image))) is None:
                    await asyncio.sleep(0.05)  # another process puts it there
                pngs.append(png)
        return pngs

    async def until(self, state: str) -> str:
        """The reason of that state. Raises TimeoutError."""
        async with asyncio.timeout(60):
            while (health := read_health(self.settings.run_folder).get("work-render")) is None or health.state != state:
                await asyncio.sleep(0.05)  # health is a file
        return health.reason


def _name(image: Dataset) -> str:
    return picture_name(hashlib.sha256(image.PixelData).hexdigest())


def _result(image: Dataset) -> Any:
    study, now = study_of(image), datetime.now(UTC)
    analysed = AnalysedImage(
        sop_instance_uid=uid_of(image),
        pixel_sha256=hashlib.sha256(image.PixelData).hexdigest(),
        rows=image.Rows,
        columns=image.Columns,
        probability=0.1,
    )
    findings = Findings(
        analysis_id=identity("analysis", study),
        subject=Subject(study_instance_uid=study, revision="0" * 64, sequence=1, triggered_at=now),
        model=ModelIdentity(name="scripted", version="1", weights_sha256="0" * 64),
        images=(analysed,),
        threshold=0.5,
    )
    value = findings.model_dump_json().encode()
    return emit_value(topics.RESULTS, study, value, id=findings.analysis_id, type=FINDINGS_TYPE, time=now, cause=None)


def _films(count: int) -> list[Dataset]:
    """Noise, so that each has pixels of its own."""
    noise = np.random.default_rng(20261129)
    return [radiograph(noise.integers(0, 4096, (500, 400), np.uint16), PatientName="Secret^Name") for _ in range(count)]


@asynccontextmanager
async def _rendering(broker: LocalServices, orthanc_url: str, folder: Path) -> AsyncIterator[Rendering]:
    server = s3_server(folder / "s3")
    server.folder.mkdir()
    access_key, secret_key = folder / "access-key", folder / "secret-key"
    access_key.write_text(ACCESS_KEY)
    secret_key.write_text(SECRET_KEY)
    url = f"s3://{BUCKET}/radstream"
    settings = Settings(
        run_folder=folder / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        archive=ArchiveSettings(orthanc_url=orthanc_url, dicomweb_url=f"{orthanc_url}/dicom-web"),
        database=DatabaseSettings(url=f"sqlite:///{folder / 'radstream.db'}"),
        objects=ObjectSettings(
            url=url, s3_endpoint=server.endpoint, s3_access_key_file=access_key, s3_secret_key_file=secret_key, timeout_s=5
        ),
    )
    await asyncio.to_thread(ensure_all_topics, settings)
    supervisor = Supervisor([ROLE], settings.run_folder, kill_after_s=10, environment=as_environment(settings))
    objects = object_store_for(settings, url)
    async with supervisor.running(), KafkaLog(broker.kafka_bootstrap) as log:
        await supervisor.ready(120)
        yield Rendering(folder, settings, supervisor, log, server, objects)


async def test_pictures_come_when_the_store_is_back_and_survive_a_kill(
    broker: LocalServices, orthanc_url: str, tmp_path: Path
) -> None:
    first, *others = _films(25)
    async with _rendering(broker, orthanc_url, tmp_path) as rendering:
        await rendering.analysed(first)
        reason = await rendering.until("paused")  # there is no store yet
        assert ACCESS_KEY not in reason
        with rendering.server.running():
            (png,) = await rendering.until_all(first)
            await rendering.until("ready")
            with Image.open(io.BytesIO(png)) as picture:
                shown = np.asarray(picture)
            stored = np.frombuffer(first.PixelData, np.uint16).reshape(shown.shape)
            assert np.abs(shown - (stored - stored.min()) / (stored.max() - stored.min()) * 255).max() <= 0.5

            pid = rendering.supervisor.processes[ROLE].pid
            (worker,) = decoding_processes(pid)
            print(f"resident: {resident_mib(pid):.0f} MiB, rendering process {resident_mib(worker):.0f} MiB")
            assert all(os.sched_getscheduler(one) == os.SCHED_IDLE for one in (pid, worker))
            assert not any("libtorch" in Path(f"/proc/{one}/maps").read_text() for one in (pid, worker))

            await rendering.analysed(*others)
            await rendering.until_all(others[0])
            os.kill(pid, signal.SIGKILL)
            pngs = await rendering.until_all(*others)
            assert rendering.supervisor.restarts[ROLE] == 1
            assert {Image.open(io.BytesIO(png)).size for png in pngs} == {(400, 500)}
        written = [path.read_text(errors="replace") for path in rendering.settings.run_folder.iterdir()]
        assert not [text for text in written if "Secret" in text or SECRET_KEY in text or ACCESS_KEY in text]


async def test_without_an_object_store_the_role_idles(broker: LocalServices, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap=broker.kafka_bootstrap)
    settings = Settings(run_folder=tmp_path / "run", kafka=kafka, objects=ObjectSettings(url=None))
    supervisor = Supervisor([ROLE], settings.run_folder, kill_after_s=10, environment=as_environment(settings))
    async with supervisor.running():
        await supervisor.ready(60)
        print(f"resident: {resident_mib(supervisor.processes[ROLE].pid):.0f} MiB")
    assert supervisor.restarts[ROLE] == 0
