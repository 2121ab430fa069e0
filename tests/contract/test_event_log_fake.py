from __future__ import annotations

import pytest

from tests.contract.event_log import EventLogContract
from tests.contract.fake_event_log import FakeEventLog


class TestFakeEventLog(EventLogContract):
    @pytest.fixture
    def topic(self) -> str:
        return "topic"

    @pytest.fixture
    def log(self, topic: str) -> FakeEventLog:
        return FakeEventLog(topic)
