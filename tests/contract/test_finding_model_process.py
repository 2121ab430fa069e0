"""The contract of `FindingModel` on a model in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from models.process import ModelProcess
from models.registry import load
from schemas.ports import FindingModel
from tests.contract.finding_model import FindingModelContract


class TestInAProcessOfItsOwn(FindingModelContract):
    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        model = await ModelProcess.start(partial(load, package, tests=True), batch=8, wait_ms=20, threads=1)
        try:
            yield model
        finally:
            await model.close()
