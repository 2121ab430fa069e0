from __future__ import annotations

import pytest

from schemas.errors import RecordsRemoved
from schemas.history import Span
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.contract.history import HistoryContract, written


@pytest.fixture
def topic() -> str:
    return "topic"


@pytest.fixture
def log(topic: str) -> FakeEventLog:
    return FakeEventLog(topic)


@pytest.fixture
def history(log: FakeEventLog) -> FakeHistory:
    return FakeHistory(log)


class TestFakeHistory(HistoryContract):
    async def test_what_retention_removed(self, log: FakeEventLog, history: FakeHistory, topic: str) -> None:
        await written(log, topic)
        history.remove_before(topic, 0, 3)
        assert (await history.spans(topic))[0].first == 3
        with pytest.raises(RecordsRemoved):
            await anext(aiter(history.records(Span(topic, 0, 0, 5))))
