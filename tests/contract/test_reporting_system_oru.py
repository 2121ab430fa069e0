from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from connectors.mllp.client import MllpClient
from connectors.reporting.hl7oru import OruReceiver
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.renderings.hl7oruterms import OruTerms
from tests.contract.oru_ris import Report, Ris, RisServer, accept, acknowledgement, control_id, ris_server
from tests.contract.reporting_system import NOT_ANALYSED, NOTHING, WITHDRAWN, ReportingSystemContract, Study, said, sequence_at


class _Receiver:
    """A RIS in which python-hl7 files what comes, over its own MLLP."""

    def __init__(self, server: RisServer) -> None:
        self._server = server

    async def expects(self, study: Study) -> None:
        """It takes every study."""

    async def says(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> str:
        reports = [one for one in self._of(study) if one.service == service]
        if not reports:
            return NOTHING
        (report,) = reports
        if not report.results():
            return WITHDRAWN if report.once else NOT_ANALYSED
        assert report.status == "R"
        assert report.text
        return said(
            sequence_at(datetime.strptime(report.at, "%Y%m%d%H%M%S.%f%z")),
            after_verification=report.value("after-verification") is not None,
        )

    async def holds(self, study: Study) -> frozenset[str]:
        return frozenset(f"{one.service} {one.patient} {key}" for one in self._of(study) for key in one.observations)

    def _of(self, study: Study) -> list[Report]:
        return [one for one in self._server.ris.reports.values() if one.value("113014") == study.uid]

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self._server.stop()
        yield
        await self._server.start()

    @asynccontextmanager
    async def refusing(self, study: Study) -> AsyncIterator[None]:
        async def refuse(ris: Ris, data: bytes) -> bytes | None:
            if study.uid.encode() in data:
                return acknowledgement("AR", control_id(data))
            return await accept(ris, data)

        self._server.answer = refuse
        yield
        self._server.answer = accept


@pytest.fixture
async def server() -> AsyncIterator[RisServer]:
    async with ris_server() as server:
        yield server


@pytest.fixture
async def system(server: RisServer) -> AsyncIterator[OruReceiver]:
    receiver = OruReceiver(MllpClient("127.0.0.1", server.port, timeout_s=5), OruTerms(), wait_s=0.01)
    yield receiver
    await receiver.close()


@pytest.fixture
def receiver(server: RisServer) -> _Receiver:
    return _Receiver(server)


class TestOruReceiver(ReportingSystemContract):
    """The fixtures above."""
