"""The process of the role `work shadow` with a candidate that answers by a script; and the script of the model in use.

`python shadow_process.py FOLDER DELAY_S`: FOLDER holds the films (Part 10); settings come from the environment."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from schemas.errors import ModelFailed, Unsuitable
from schemas.findings import (
    CHEST_RADIOGRAPH_FINDINGS,
    AnalysedImage,
    Finding,
    FindingKind,
    ModelIdentity,
    NotAnalysedReason,
    Region,
)
from schemas.ports import Prediction, Radiograph
from streams.health import Health, Shared
from streams.promotion.models_in_use import InUse
from streams.role import run_role
from streams.settings import Settings, read_settings
from streams.shadows.shadow import Shadows
from streams.steps.choosing import IntendedUse
from streams.wiring.clients import log_for
from streams.wiring.shadows import run_shadow
from tests.contract.fake_study_archive import FakeStudyArchive
from tests.contract.test_image_decoders import InProcessDecoder

IN_USE = ModelIdentity(name="chest", version="1", weights_sha256="1" * 64)
CANDIDATE = ModelIdentity(name="chest", version="2", weights_sha256="2" * 64)

#: of these the candidate says that it is not for it, and breaks; of both the model in use finds nothing
UNSUITABLE, BREAKS = 50, 51


class ByNumber:
    """Answers by the number of the study, which its image has in its UID: the model in use finds a nodule in the even ones."""

    service = CHEST_RADIOGRAPH_FINDINGS
    threshold = 0.5

    def __init__(self, identity: ModelIdentity, delay_s: float = 0.0) -> None:
        self.identity = identity
        self._delay_s = delay_s

    async def predict(self, radiograph: Radiograph) -> Prediction:
        await asyncio.sleep(self._delay_s)
        uid = radiograph.sop_instance_uid
        number = int(uid.rpartition(".")[2])
        left, probability = (_candidate if self.identity == CANDIDATE else _in_use)(number)
        found: tuple[Finding, ...] = ()
        if left is not None:
            region = Region(sop_instance_uid=uid, left=left, top=10, width=20, height=20)
            found = (Finding(ordinal=1, kind=FindingKind.NODULE, probability=probability, region=region),)
        rows, columns = radiograph.pixels.shape
        return Prediction(
            AnalysedImage(
                sop_instance_uid=uid,
                pixel_sha256=radiograph.pixel_sha256,
                rows=rows,
                columns=columns,
                probability=probability,
            ),
            found,
        )


def _in_use(number: int) -> tuple[float | None, float]:
    return (10.0, 0.8) if number % 2 == 0 and number < UNSUITABLE else (None, 0.2)


def _candidate(number: int) -> tuple[float | None, float]:
    """A tenth more, and: every tenth finding is in another place, every number that ends in 1 has one of its own."""
    if number == UNSUITABLE:
        raise Unsuitable("analyse", str(number), "This is not for me.", NotAnalysedReason.WRONG_VIEW)
    if number == BREAKS:
        raise ModelFailed("analyse", str(number), "gave no answer")
    left, probability = _in_use(number)
    if number % 10 == 1:
        return 10.0, 0.6
    return None if left is None else 70.0 if number % 10 == 0 else 12.0, probability + 0.1


async def archive_of(films: Path) -> FakeStudyArchive:
    """Of all files there."""
    archive = FakeStudyArchive()
    await archive.store([film.read_bytes() for film in sorted(films.iterdir())])
    return archive


async def _body(settings: Settings, stop: asyncio.Event, health: Health, *, films: Path, delay_s: float) -> None:
    async def nothing() -> None: ...

    async def load(reference: str) -> InUse:
        return InUse(ByNumber(CANDIDATE, delay_s), IntendedUse(), nothing)

    archive = await archive_of(films)
    async with log_for(settings) as log:
        run = partial(run_shadow, settings=settings, log=log, load=load, archive=archive, decoder=InProcessDecoder())
        await Shadows(run, log, Shared(health)).follow(stop)


if __name__ == "__main__":
    body = partial(_body, films=Path(sys.argv[1]), delay_s=float(sys.argv[2]))
    sys.exit(run_role("work shadow", body, read_settings()))
