"""An archive that misbehaves, in front of a real one, while it is told findings: the named error, and afterwards it holds every
document once, in its last state."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from connectors.reporting.archive import ArchiveReceiver
from schemas.errors import AccessRefused, ArchiveUnavailable, ItemNotServed, RadstreamError, ResourceRefused
from schemas.findings import NotAnalysedReason
from tests.contract.archive_receiver import ArchiveSide
from tests.contract.reporting_system import WITHDRAWN, Study, assert_no_patient, said
from tests.service.fault_proxy import Fault, FaultProxy, fault_proxy

pytestmark = pytest.mark.service

#: enough for a busy machine; and the limit of one who meets an archive that never ends its answer
PATIENT_S, IMPATIENT_S = 20.0, 2.0


def _failed(reason: int) -> bytes:
    """PS3.18 table 10.5.3-2: the answer to STOW-RS when nothing was stored."""
    item = {"00081197": {"vr": "US", "Value": [reason]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "MRN^4711"}]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


#: PS3.18 table I.2-2: 0122H SOP class not supported, A700H out of resources
UNSUPPORTED, FULL = _failed(0x0122), _failed(0xA700)

FAULTS: dict[str, tuple[Fault, tuple[type[RadstreamError], ...]]] = {
    "409": (Fault("answer", 409, UNSUPPORTED, method="POST"), (ResourceRefused,)),
    "409-full": (Fault("answer", 409, FULL, method="POST"), (ArchiveUnavailable,)),
    "507": (Fault("answer", 507, b"", method="POST"), (ArchiveUnavailable,)),
    "400": (Fault("answer", 400, b"<html>", method="POST"), (ResourceRefused,)),
    "403-to-the-document": (Fault("answer", 403, b"", method="POST"), (AccessRefused,)),
    "401-to-everything": (Fault("answer", 401, b""), (ArchiveUnavailable,)),
    "503": (Fault("answer", 503, b""), (ArchiveUnavailable,)),
    "503-to-the-document": (Fault("answer", 503, b"", method="POST"), (ArchiveUnavailable,)),
    "500": (Fault("answer", 500, b"<html>"), (ArchiveUnavailable,)),
    "500-to-the-document": (Fault("answer", 500, b"", method="POST"), (ItemNotServed,)),
    "cut": (Fault("cut"), (ArchiveUnavailable,)),
    "lose-answer": (Fault("lose-answer", method="POST"), (ItemNotServed,)),
    "break-off": (Fault("break-off", method="POST"), (ItemNotServed,)),
    "break-off-what-it-holds": (Fault("break-off", method="GET"), (ArchiveUnavailable,)),
    # on a busy machine the question whether it is well comes too late
    "hang": (Fault("hang", method="POST"), (ItemNotServed, ArchiveUnavailable)),
    "drip": (Fault("drip", method="POST"), (ItemNotServed, ArchiveUnavailable)),
}


@asynccontextmanager
async def receiver_at(proxy: FaultProxy, timeout_s: float) -> AsyncIterator[ArchiveReceiver]:
    system = ArchiveReceiver(f"{proxy.url}/dicom-web", timeout_s=timeout_s, size_limit=1 << 24)
    yield system
    await system.close()


@pytest.fixture
def proxy(orthanc_url: str) -> Iterator[FaultProxy]:
    with fault_proxy(orthanc_url) as proxy:
        yield proxy


@pytest.fixture
async def system(proxy: FaultProxy) -> AsyncIterator[ArchiveReceiver]:
    async with receiver_at(proxy, PATIENT_S) as system:
        yield system


@pytest.fixture
def receiver(orthanc_url: str, proxy: FaultProxy) -> ArchiveSide:
    return ArchiveSide(orthanc_url, proxy)


@pytest.fixture
async def study(receiver: ArchiveSide) -> Study:
    study = Study()
    await receiver.expects(study)
    return study


@pytest.mark.parametrize("name", FAULTS)
async def test_fault_has_its_name_and_loses_nothing(
    name: str, proxy: FaultProxy, system: ArchiveReceiver, receiver: ArchiveSide, study: Study
) -> None:
    await system.tell(study.found(4), None)
    proxy.fault, expected = FAULTS[name]
    endless = proxy.fault.kind in ("hang", "drip")
    async with receiver_at(proxy, IMPATIENT_S if endless else PATIENT_S) as sender:
        with pytest.raises(RadstreamError) as raised:
            await sender.tell(study.absent(8), study.found(4))
    assert type(raised.value) in expected
    assert_no_patient(str(raised.value))
    if isinstance(raised.value, ResourceRefused):
        assert raised.value.operation_outcome == proxy.fault.body

    proxy.fault = None
    await system.tell(study.absent(8), study.found(4))
    assert await receiver.says(study) == said(8)
    assert len(await receiver.holds(study)) == 2


@pytest.mark.parametrize("fault", [Fault("lose-answer", method="POST"), Fault("break-off", method="POST")], ids=["lost", "broken"])
async def test_a_withdrawal_whose_answer_was_lost_is_one_note(
    fault: Fault, proxy: FaultProxy, system: ArchiveReceiver, receiver: ArchiveSide, study: Study
) -> None:
    withdrawal = study.not_analysed(8, NotAnalysedReason.IDENTITY_MISMATCH)
    await system.tell(study.found(4), None)
    proxy.fault = fault
    with pytest.raises(ItemNotServed):
        await system.tell(withdrawal, study.found(4))
    proxy.fault = None
    for _ in range(2):
        await system.tell(withdrawal, study.found(4))
    assert await receiver.says(study) == WITHDRAWN
    assert len(await receiver.holds(study)) == 2


async def test_one_who_is_not_let_in_is_told_by_the_probe(proxy: FaultProxy, system: ArchiveReceiver) -> None:
    """A person must act: it is no archive that is down."""
    for status in (401, 403, 302):
        proxy.fault = Fault("answer", status, b"")
        with pytest.raises(AccessRefused):
            await system.probe()
    proxy.fault = None
    await system.probe()


async def test_what_is_not_listed_yet_is_withdrawn_all_the_same(
    proxy: FaultProxy, system: ArchiveReceiver, receiver: ArchiveSide, study: Study
) -> None:
    """Some archives answer STOW-RS before they list what they took."""
    await system.tell(study.found(4), None)
    proxy.fault = Fault("answer", 200, b"[]", method="GET", about="/instances?", media_type="application/dicom+json")
    await system.tell(study.not_analysed(8, NotAnalysedReason.ORDER_CANCELLED), study.found(4))
    proxy.fault = None
    assert await receiver.says(study) == WITHDRAWN
