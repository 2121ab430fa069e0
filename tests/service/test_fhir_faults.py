"""A FHIR server that misbehaves, in front of a real one: the named error, within the time limit, and afterwards nothing is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.fhir import FhirServer
from schemas.errors import AccessRefused, Conflict, FhirServerUnavailable, ItemNotServed, RadstreamError, ResourceRefused
from schemas.renderings.fhir.bundle import bundle_of
from tests.contract.example_findings import SITE, findings, two_findings
from tests.contract.report_store import Study, observation, status_of
from tests.service.fault_proxy import Fault, FaultProxy, fault_proxy

#: enough for a busy machine; and the limit of one who meets a server that never ends its answer
PATIENT_S, IMPATIENT_S = 20.0, 2.0
_SLACK_S = 5
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"MRN-4711"}]}'

pytestmark = pytest.mark.service


@pytest.fixture
def proxy(fhir_url: str) -> Iterator[FaultProxy]:
    with fault_proxy(fhir_url) as proxy:
        yield proxy


@pytest.fixture
async def server(proxy: FaultProxy) -> AsyncIterator[FhirServer]:
    server = FhirServer(proxy.url, timeout_s=PATIENT_S)
    yield server
    await server.close()


@pytest.fixture
async def impatient(proxy: FaultProxy) -> AsyncIterator[FhirServer]:
    server = FhirServer(proxy.url, timeout_s=IMPATIENT_S, pool_size=2)
    yield server
    await server.close()


FAULTS = {
    "422": (Fault("answer", 422, OUTCOME), ResourceRefused),
    "422-to-the-transaction": (Fault("answer", 422, OUTCOME, method="POST"), ResourceRefused),
    "400": (Fault("answer", 400, OUTCOME, method="POST"), ResourceRefused),
    "404-by-the-server": (Fault("answer", 404, OUTCOME, method="POST"), ResourceRefused),
    "404-by-a-proxy": (Fault("answer", 404, b"<html>", method="POST"), FhirServerUnavailable),
    "409": (Fault("answer", 409, OUTCOME, method="POST"), Conflict),
    "412": (Fault("answer", 412, OUTCOME, method="POST"), Conflict),
    "401": (Fault("answer", 401, b""), FhirServerUnavailable),
    "403": (Fault("answer", 403, b"<html>"), FhirServerUnavailable),
    "401-to-the-transaction": (Fault("answer", 401, b"", method="POST"), AccessRefused),
    "403-to-the-transaction": (Fault("answer", 403, OUTCOME, method="POST"), AccessRefused),
    "429": (Fault("answer", 429), FhirServerUnavailable),
    "500": (Fault("answer", 500, b"<html>"), FhirServerUnavailable),
    "500-to-the-transaction": (Fault("answer", 500, OUTCOME, method="POST"), ItemNotServed),
    "503": (Fault("answer", 503, b""), FhirServerUnavailable),
    "503-to-the-transaction": (Fault("answer", 503, b"", method="POST"), FhirServerUnavailable),
    "redirect": (Fault("answer", 302, b""), FhirServerUnavailable),
    "200-but-not-json": (Fault("answer", 200, b"<html>welcome</html>"), FhirServerUnavailable),
    "200-but-no-resource": (Fault("answer", 200, b"[]", method="POST"), FhirServerUnavailable),
    "200-but-no-report": (
        Fault("answer", 200, b'{"resourceType":"Bundle","type":"transaction-response"}', method="POST"),
        FhirServerUnavailable,
    ),
    "hang": (Fault("hang"), FhirServerUnavailable),
    "hang-in-the-transaction": (Fault("hang", method="POST"), FhirServerUnavailable),
    "drip": (Fault("drip"), FhirServerUnavailable),
    "cut": (Fault("cut"), FhirServerUnavailable),
    "lose-answer": (Fault("lose-answer", method="POST"), FhirServerUnavailable),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_fault_has_its_name_and_loses_nothing(
    name: str, proxy: FaultProxy, server: FhirServer, impatient: FhirServer
) -> None:
    study = Study()
    old, new = two_findings(study.subject(1)), findings(study.subject(2))
    await server.put(bundle_of(old, SITE))
    proxy.fault, expected = FAULTS[name]
    endless = proxy.fault.kind in ("hang", "drip")
    sender, limit = (impatient, IMPATIENT_S) if endless else (server, PATIENT_S)
    started = time.monotonic()
    with pytest.raises(RadstreamError) as raised:
        await sender.put(bundle_of(new, SITE))
    assert time.monotonic() - started < limit + _SLACK_S
    assert type(raised.value) is expected
    assert "MRN" not in str(raised.value)
    if isinstance(raised.value, ResourceRefused):
        assert raised.value.operation_outcome == OUTCOME

    proxy.fault = None
    answer = await _put_once_it_answers(sender, bundle_of(new, SITE))
    # "lose-answer" had stored version 2: repeating it made no third
    assert answer == f"{study.report}/_history/2"
    assert await status_of(server, observation(old, 1)) == "entered-in-error"
    assert await status_of(server, observation(new, 0)) == "preliminary"
    assert len(await server.search_reports(study.accession.value)) == 1


async def _put_once_it_answers(server: FhirServer, bundle: bytes) -> str:
    """The threads that hung are free within one time limit more."""
    async with asyncio.timeout(2 * PATIENT_S):
        while True:
            try:
                return (await server.put(bundle)).reference
            except FhirServerUnavailable:
                continue


async def test_a_conflict_that_passes_is_not_told(proxy: FaultProxy, server: FhirServer) -> None:
    """A lost race is decided again on what is there now."""
    study = Study()
    proxy.fault = Fault("answer", 409, OUTCOME, method="POST")
    putting = asyncio.create_task(server.put(bundle_of(two_findings(study.subject(1)), SITE)))
    await proxy.reached(1, "POST")
    proxy.fault = None
    assert (await putting).reference == f"{study.report}/_history/1"


async def test_nobody_listens() -> None:
    nobody = FhirServer("http://127.0.0.1:9", timeout_s=IMPATIENT_S)
    with pytest.raises(FhirServerUnavailable):
        await nobody.put(bundle_of(findings(), SITE))
    await nobody.close()


async def test_a_hung_server_is_left_at_the_time_limit_by_all_who_wait(impatient: FhirServer, proxy: FaultProxy) -> None:
    """More callers than connections: those in the queue are told too, and none waits longer than its own limit."""
    proxy.fault = Fault("hang")
    started = time.monotonic()
    said = await asyncio.gather(*(impatient.put(bundle_of(findings(), SITE)) for _ in range(8)), return_exceptions=True)
    assert time.monotonic() - started < IMPATIENT_S + _SLACK_S
    assert [type(error) for error in said] == [FhirServerUnavailable] * 8


async def test_logs_hold_no_identifier(server: FhirServer, proxy: FaultProxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)  # the root logger: as if somebody had turned everything on
    study = Study()
    await server.put(bundle_of(two_findings(study.subject(1)), SITE))
    await server.search_reports(study.accession.value)
    proxy.fault = Fault("answer", 422, OUTCOME, method="POST")
    with pytest.raises(ResourceRefused):
        await server.put(bundle_of(findings(study.subject(2)), SITE))
    spoken = [
        record.getMessage() for record in caplog.records if record.name.split(".")[0] in ("urllib3", "requests", "connectors")
    ]
    assert spoken == []
    assert "MRN-4711" not in caplog.text
