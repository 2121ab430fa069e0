from __future__ import annotations

import pytest

from tests.contract.fake_report_store import FakeReportStore
from tests.contract.report_store import ReportStoreContract


class TestFakeReportStore(ReportStoreContract):
    @pytest.fixture
    def store(self) -> FakeReportStore:
        return FakeReportStore()
