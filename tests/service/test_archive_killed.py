"""Orthanc killed with -9 between two tellings and in the middle of one: told again, it holds every document once, in its last
state."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from connectors.reporting.archive import ArchiveReceiver
from schemas.errors import ArchiveUnavailable, ItemNotServed
from schemas.findings import Findings, NotAnalysedReason
from streams.services import LocalServices
from tests.contract.archive_receiver import ArchiveSide
from tests.contract.reporting_system import WITHDRAWN, Study, said
from tests.service.away import away
from tests.service.fault_proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.service


async def test_orthanc_is_killed(archive_apart: LocalServices) -> None:
    studies = [Study() for _ in range(3)]
    with fault_proxy(archive_apart.orthanc_url) as proxy:
        receiver = ArchiveSide(archive_apart.orthanc_url, proxy)
        system = ArchiveReceiver(f"{proxy.url}/dicom-web", timeout_s=20, size_limit=1 << 24)
        for study in studies:
            await receiver.expects(study)
            await system.tell(study.found(4), None)

        async with away(archive_apart, "orthanc"):
            with pytest.raises(ArchiveUnavailable):
                await system.tell(studies[0].absent(8), studies[0].found(4))
            with pytest.raises(ArchiveUnavailable):
                await system.probe()

        # each is killed in the middle of what it is told next
        withdrawal = studies[1].not_analysed(8, NotAnalysedReason.ORDER_CANCELLED)
        for study, state in ((studies[0], studies[0].absent(8)), (studies[1], withdrawal)):
            await killed_while_told(archive_apart, proxy, system, state, study.found(4))
            await system.tell(state, study.found(4))

        assert [await receiver.says(study) for study in studies] == [said(8), WITHDRAWN, said(4)]
        assert [len(await receiver.holds(study)) for study in studies] == [2, 2, 1]
        await system.close()


async def killed_while_told(
    services: LocalServices, proxy: FaultProxy, system: ArchiveReceiver, state: Findings, held: Findings
) -> None:
    """At the moment when the document is on its way."""
    telling = asyncio.create_task(system.tell(state, held))
    await proxy.reached(1, "POST")
    async with away(services, "orthanc"):
        with contextlib.suppress(ArchiveUnavailable, ItemNotServed):  # unless it was quicker
            await telling
