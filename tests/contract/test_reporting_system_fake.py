from __future__ import annotations

import pytest

from tests.contract.fake_reporting_system import FakeReportingSystem
from tests.contract.reporting_system import ReportingSystemContract


class TestFakeReportingSystem(ReportingSystemContract):
    @pytest.fixture
    def system(self) -> FakeReportingSystem:
        return FakeReportingSystem()

    @pytest.fixture
    def receiver(self, system: FakeReportingSystem) -> FakeReportingSystem:
        return system
