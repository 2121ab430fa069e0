from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.fhir import FhirServer
from tests.contract.report_store import ReportStoreContract


@pytest.mark.service
class TestHapi(ReportStoreContract):
    @pytest.fixture
    async def store(self, fhir_url: str) -> AsyncIterator[FhirServer]:
        server = FhirServer(fhir_url, timeout_s=20)
        yield server
        await server.close()
