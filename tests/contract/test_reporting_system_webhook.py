from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.reporting.webhook import WebhookReceiver
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, WITHDRAWING, Findings
from streams.clock import SystemClock
from tests.contract.reporting_system import NOT_ANALYSED, NOTHING, WITHDRAWN, ReportingSystemContract, Study, said
from tests.contract.webhook_server import SECRET, WebhookServer, webhook_server


class _Receiver:
    def __init__(self, server: WebhookServer) -> None:
        self._server = server

    async def expects(self, study: Study) -> None:
        """It takes every study."""

    async def says(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> str:
        state = self._server.held.get((study.uid, service))
        if state is None:
            return NOTHING
        if state.not_analysed is None:
            return said(state.subject.sequence, after_verification=state.verified_at is not None)
        told = [Findings.model_validate_json(one.body) for one in self._server.taken.values()]
        of_study = [one for one in told if (one.subject.study_instance_uid, one.service) == (study.uid, service)]
        once = any(one.not_analysed is None for one in of_study)
        return WITHDRAWN if once and state.not_analysed.reason in WITHDRAWING else NOT_ANALYSED

    async def holds(self, study: Study) -> frozenset[str]:
        return frozenset(id for id, one in self._server.taken.items() if study.uid.encode() in one.body)

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        self._server.fault = lambda request: "close"
        yield
        self._server.fault = lambda request: None

    @asynccontextmanager
    async def refusing(self, study: Study) -> AsyncIterator[None]:
        self._server.fault = lambda request: 422 if study.uid.encode() in request.body else None
        yield
        self._server.fault = lambda request: None


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


@pytest.fixture
async def system(server: WebhookServer, tmp_path: Path) -> AsyncIterator[WebhookReceiver]:
    (tmp_path / "secret").write_text(SECRET)
    receiver = WebhookReceiver(server.url, secret_file=tmp_path / "secret", timeout_s=10, clock=SystemClock())
    yield receiver
    await receiver.close()


class TestWebhook(ReportingSystemContract):
    @pytest.fixture
    def receiver(self, server: WebhookServer) -> _Receiver:
        return _Receiver(server)
