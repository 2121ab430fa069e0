"""A `ModelProcess` around an obedient model, for the tests of its life and of its memory."""

from __future__ import annotations

import os
import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.image_model import ImageModel
from models.process import ModelProcess
from schemas.ports import FindingModel
from tests.unit import image_models
from tests.unit.image_models import radiograph, said


@asynccontextmanager
async def started(
    load: Callable[[], ImageModel] = image_models.load, *, batch: int = 1, timeout_s: float = 60.0, threads: int | None = None
) -> AsyncIterator[ModelProcess]:
    model = await ModelProcess.start(load, batch=batch, timeout_s=timeout_s, threads=threads)
    try:
        yield model
    finally:
        await model.close()


async def pid_of(model: FindingModel) -> int:
    return int(said(await model.predict(radiograph()), "process"))


def ended(pid: int) -> Callable[[], None]:
    """To be called: waits until the process that has this number now is gone."""
    descriptor = os.pidfd_open(pid)

    def wait() -> None:
        readable, _, _ = select.select([descriptor], [], [], 20)
        os.close(descriptor)
        assert readable, "it lives"

    return wait


@pytest.fixture
def fifos(tmp_path: Path) -> tuple[Path, Path]:
    out, back = tmp_path / "out", tmp_path / "back"
    os.mkfifo(out)
    os.mkfifo(back)
    return out, back
