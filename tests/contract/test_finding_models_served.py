"""The contract of `FindingModel` where the numbers, or all of it, come over HTTP: from our own server, and from MLServer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from connectors.film_files import FilmFiles
from connectors.inference_served import always_ready
from connectors.objects import in_memory
from models.in_process import InProcess
from models.inference import PackageModel
from models.registry import load
from schemas.ports import FindingModel
from streams.model_settings import RemoteSettings
from streams.remotes import remote_network
from streams.serving.films import Films
from streams.serving.served import findings_of, network_of
from streams.steps.choosing import IntendedUse
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.finding_model import FindingModelContract
from tests.contract.mlserver_process import mlserver
from tests.contract.remote_package import SERVER, remote_package
from tests.contract.served_model import ServedModel
from tests.unit.inference_caller import serving

LIMIT = 64 * 1024 * 1024


@asynccontextmanager
async def _network_served(package: Path) -> AsyncIterator[str]:
    """The address of a server of ours with the bare network of the package."""
    with closing(load(package, tests=True)) as model, ThreadPoolExecutor(1) as thread:
        given = model.card.input
        canvas = (given.channels, given.canvas, given.canvas)
        served = await network_of(model.card.name, model.card.version, model.network, canvas, thread, always_ready)
        async with serving(served, size_limit=LIMIT) as caller:
            yield caller.url


@asynccontextmanager
async def _remote(package: Path, url: str, model_name: str, *, binary: bool) -> AsyncIterator[FindingModel]:
    """The package with its numbers from there."""
    with TemporaryDirectory() as folder:
        elsewhere = remote_package(package, Path(folder), model_name=model_name, binary=binary)
        remote = partial(remote_network, remotes={SERVER: RemoteSettings(url=url)})
        loaded = await asyncio.to_thread(partial(load, elsewhere, tests=True, remote=remote))
        model = InProcess(loaded, batch=8, wait_ms=20)
        try:
            yield model
        finally:
            await model.close()


class _Remote(FindingModelContract):
    async def test_who_speaks(self, model: FindingModel, reference: PackageModel) -> None:
        """Its weights nobody here has seen: the digest is that of the card, which says what is asked."""
        assert (model.service, model.threshold) == (reference.service, reference.threshold)
        assert (model.identity.name, model.identity.version) == (reference.identity.name, reference.identity.version)
        assert model.identity.weights_sha256 != reference.identity.weights_sha256


class TestRemoteInJson(_Remote):
    binary = False

    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        async with _network_served(package) as url, _remote(package, url, "panel.network", binary=cls.binary) as model:
            yield model


class TestRemoteInBinary(TestRemoteInJson):
    binary = True


class TestRemoteOnMLServer(_Remote):
    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        with TemporaryDirectory() as folder, mlserver(Path(folder), "chest", "1", "panel") as url:
            async with _remote(package, url, "chest", binary=False) as model:
                yield model


class TestServed(FindingModelContract):
    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        async with AsyncExitStack() as stack:
            files = stack.enter_context(closing(FilmFiles(workers=1, timeout_s=20, memory_limit_bytes=2**30, pixel_limit=LIMIT)))
            finding = InProcess(load(package, tests=True), batch=8, wait_ms=20)
            stack.push_async_callback(finding.close)
            films = Films(files, FakeStudyArchive(), "http://127.0.0.1:1", in_memory(), LIMIT, LIMIT)
            outputs = [reading.name for reading in finding.card.outputs]
            served = findings_of(finding, outputs, films, IntendedUse(), always_ready)
            caller = await stack.enter_async_context(serving(served, size_limit=LIMIT))
            model = ServedModel(caller.url, finding.identity, finding.service, finding.threshold)
            yield model
        # its threads end with the process: whoever asks later must still be told that nobody is there
