from __future__ import annotations

import pytest

from tests.contract.fake_report_store import FakeReportStore
from tests.contract.report_store import ReportStoreContract
from tests.contract.verified_reports import VerifiedReportsContract


class TestFakeReportStore(ReportStoreContract, VerifiedReportsContract):
    @pytest.fixture
    def store(self) -> FakeReportStore:
        return FakeReportStore()
