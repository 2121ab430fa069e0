"""The contract of `FindingModel` on each way to ask one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from models.in_process import InProcess
from models.registry import load
from schemas.ports import FindingModel
from tests.contract.finding_model import FindingModelContract


class TestInProcess(FindingModelContract):
    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        model = InProcess(load(package, tests=True))
        try:
            yield model
        finally:
            await model.close()


class TestInBatches(FindingModelContract):
    @classmethod
    @asynccontextmanager
    async def opened(cls, package: Path) -> AsyncIterator[FindingModel]:
        model = InProcess(load(package, tests=True), batch=8, wait_ms=20)
        try:
            yield model
        finally:
            await model.close()
