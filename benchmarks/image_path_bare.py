"""The bare parts of the image path, each alone in this process, and the same work through our own connectors beside it."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

import pydicom
import requests
from model_here import model_here
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless, generate_uid

from connectors.decoding_worker import stored_pixels
from connectors.kafka import KafkaLog
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.references import Site
from schemas.study_events import ImageReference
from streams.demo.radiographs import CHEST, copy_of
from streams.settings import Settings
from streams.steps.report import report
from streams.wiring.clients import archive_for, decoder_for, fhir_server_for

SYNTAXES = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1)
HOP = "benchmark.hop"


class Parts:
    """Of one film, whose study is `study`; `findings` is the value of a record of `ai.results` about it. To be entered."""

    def __init__(
        self, settings: Settings, log: KafkaLog, study: StudyInstanceUID, image: ImageReference, findings: bytes, repeats: int
    ) -> None:
        self._settings, self._log, self._study, self._image = settings, log, study, image
        self._findings, self._repeats = findings, repeats
        self._stack = ExitStack()
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._model = await model_here(settings)
        self._decoder = self._stack.enter_context(closing(decoder_for(settings)))
        self._archive = self._stack.enter_context(closing(archive_for(settings)))
        self._server = fhir_server_for(settings)
        self._session = self._stack.enter_context(requests.Session())
        self._session.trust_env = False
        self._session.headers["Accept-Encoding"] = "identity"
        self._file = await self._archive.instance(self._study, self._image)
        self._radiograph = await self._decoder.decode(self._file, self._image.sop_instance_uid)
        self._hop = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hop.cancel()
        await asyncio.wait([self._hop])
        await self._server.close()
        await self._model.close()
        self._stack.close()

    async def measured(self) -> tuple[dict[str, float], dict[str, float]]:
        """Median milliseconds: bare, ours."""
        bare = {
            "fetch": await self._median(lambda: asyncio.to_thread(self._fetch)),
            "decode": await self._median(lambda: asyncio.to_thread(lambda: stored_pixels(pydicom.dcmread(io.BytesIO(self._file))))),
            "model": await self._median(lambda: self._model.predict(self._radiograph)),
            "store": await self._stored(),
            "describe": await self._median(lambda: self._archive.describe(self._study)),
            "hop on the log": await self._median(self._once_over_the_log),
        }
        ours = {
            "fetch": await self._median(lambda: self._archive.instance(self._study, self._image)),
            "decode": await self._median(lambda: self._decoder.decode(self._file, self._image.sop_instance_uid)),
        }
        return bare, ours

    async def _median(self, part: Callable[[], Awaitable[object]]) -> float:
        times = []
        for _ in range(self._repeats + 1):
            begun = time.perf_counter()
            await part()
            times.append((time.perf_counter() - begun) * 1000)
        return median(times[1:])

    def _fetch(self) -> None:
        image = self._image
        path = f"/studies/{self._study}/series/{image.series_instance_uid}/instances/{image.sop_instance_uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = self._session.get(self._settings.archive.dicomweb_url + path, headers={"Accept": accept}, timeout=20)
        answer.raise_for_status()
        if len(answer.content) < len(self._file):
            raise ValueError("another film")

    async def _stored(self) -> float:
        """Reports that the server has not seen: changing one that it holds already is cheaper."""
        site = Site(assigner=self._settings.site.default_assigner)
        bundles = []
        for _ in range(self._repeats + 1):
            value = self._findings.replace(self._study.encode(), generate_uid().encode())
            record = Record(Place("ai.results", 0, 0), None, value, (), datetime.now(UTC))
            bundles += [bundle.value for bundle in await report(record, site=site)]
        left = iter(bundles)
        return await self._median(lambda: self._server.put(next(left)))

    async def _once_over_the_log(self) -> None:
        self._came.clear()
        await self._log.append([Outgoing(HOP, b"key", b"value")])
        await asyncio.wait_for(self._came.wait(), 20)

    async def _follow(self) -> None:
        async for _ in self._log.read(HOP, follow=True):
            self._came.set()


def decoding(folder: Path, repeats: int) -> Mapping[str, Mapping[str, float]]:
    """By transfer syntax: our choice of decoder, and pydicom's own, medians in milliseconds. JPEG needs DCMTK's dcmcjpeg."""
    from tests.contract.transfer_syntaxes import in_syntax

    plain = copy_of(CHEST, accession_number="BENCH", patient_id="BENCH")
    files = {"uncompressed": plain}
    for syntax in SYNTAXES:
        if syntax != JPEGLosslessSV1 or shutil.which("dcmcjpeg"):
            files[syntax.keyword] = in_syntax(pydicom.dcmread(io.BytesIO(plain)), syntax, folder)

    def milliseconds(file: bytes) -> Mapping[str, float]:
        """In turns, so that other work on the machine meets both."""
        times: dict[str, list[float]] = {"ours_ms": [], "pydicom_ms": []}
        for _ in range(repeats + 1):
            for name, decode in (("ours_ms", stored_pixels), ("pydicom_ms", pixel_array)):
                image = pydicom.dcmread(io.BytesIO(file))
                begun = time.perf_counter()
                decode(image)
                times[name].append((time.perf_counter() - begun) * 1000)
        return {name: median(of[1:]) for name, of in times.items()}

    return {name: milliseconds(file) for name, file in files.items()}
