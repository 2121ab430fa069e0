"""A receiver over real sockets, and the log that its notices go to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from connectors.case_store import SqlCaseStore
from connectors.dimse.receiver import DicomReceiver
from schemas.notices import StudyNoticed
from schemas.study_ports import RefusedChange
from tests.unit.dimse_peer import Caller

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STUDY = "1.2.840.99"
UID = "1.2.840.1"
DEADLINE_S = 20


@pytest.fixture(name="cases")
async def kept_cases(tmp_path: Path) -> AsyncIterator[SqlCaseStore]:
    store = SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    yield store
    await store.close()


class _Noon:
    def now(self) -> datetime:
        return NOON


class Listening:
    """A receiver, and the log that its notices go to."""

    def __init__(self, cases: SqlCaseStore, **said: Any) -> None:
        self.told: list[StudyNoticed] = []
        self.refused: list[RefusedChange] = []
        self.broker: BaseException | None = None
        self.writing, self.written = asyncio.Event(), asyncio.Event()
        self.written.set()
        self.receiver = DicomReceiver(
            cases, self.refuse, _Noon(), default_accession_assigner="SITE", port=said.pop("port", 0), **said
        )
        self.stop = asyncio.Event()

    async def _write(self) -> None:
        self.writing.set()
        await self.written.wait()
        if self.broker is not None:
            raise self.broker

    async def tell(self, notices: Sequence[StudyNoticed]) -> None:
        await self._write()
        self.told += notices

    async def refuse(self, change: RefusedChange) -> None:
        await self._write()
        self.refused.append(change)

    def caller(self, **said: Any) -> Caller:
        return Caller(self.receiver.port, **said)


@asynccontextmanager
async def listening(cases: SqlCaseStore, **said: Any) -> AsyncIterator[Listening]:
    here = Listening(cases, **said)
    ready = asyncio.Event()
    task = asyncio.create_task(here.receiver.listen(here.tell, here.stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield here
    finally:
        here.stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


def said(status: Dataset) -> tuple[int, str]:
    return int(status.Status), str(status.get("ErrorComment", ""))
