from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from connectors.fhir import FhirServer
from schemas.findings import NotAnalysedReason
from schemas.renderings.fhir.bundle import bundle_of
from tests.contract.example_findings import SITE, not_analysed, two_findings
from tests.contract.report_store import ReportStoreContract, Study
from tests.contract.verified_reports import VerifiedReportsContract, as_a_person_left_it


@pytest.mark.service
class TestHapi(ReportStoreContract, VerifiedReportsContract):
    @pytest.fixture
    async def store(self, fhir_url: str) -> AsyncIterator[FhirServer]:
        server = FhirServer(fhir_url, timeout_s=20)
        yield server
        await server.close()

    async def test_that_a_verified_report_is_withdrawn_is_an_alarm_once(self, store: FhirServer, study: Study) -> None:
        await store.put(as_a_person_left_it(two_findings(study.subject(1)), "final"))
        withdrawn = bundle_of(not_analysed(NotAnalysedReason.MODEL_RECALLED, study.subject(2)), SITE)
        with capture_logs() as logged:
            for _ in range(2):
                await store.put(withdrawn)
        (line,) = logged
        assert (line["alarm"], line["log_level"], line["report"]) == ("verified-report-withdrawn", "error", study.report)
        assert set(line) == {"alarm", "log_level", "report", "event"}, "a reference, and nothing of a patient"
