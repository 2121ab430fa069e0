"""A web server that is told findings, and who tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.archive_access import ArchiveAccess
from connectors.reporting.webhook import WebhookReceiver
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Clock
from streams.clock import SystemClock
from tests.contract.example_findings import subject, two_findings
from tests.contract.webhook_server import SECRET, Fault, WebhookServer, webhook_server

STUDY = StudyInstanceUID("2.25.77")
OTHER = two_findings(subject(1, study=STUDY))


@pytest.fixture(name="server")
def web_server() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


@pytest.fixture(name="secret")
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    return file


@asynccontextmanager
async def told(
    url: str, secret: Path, *, timeout_s: float = 10, clock: Clock = SystemClock(), access: ArchiveAccess = ArchiveAccess()
) -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver(url, secret_file=secret, timeout_s=timeout_s, clock=clock, access=access)
    yield receiver
    await receiver.close()


@pytest.fixture(name="receiver")
async def web_receiver(server: WebhookServer, secret: Path) -> AsyncIterator[WebhookReceiver]:
    async with told(server.url, secret) as receiver:
        yield receiver


def on_post(answer: int | tuple[int, bytes] | str) -> Fault:
    return lambda request: answer if request.method == "POST" else None


def on_one(answer: int | tuple[int, bytes] | str) -> Fault:
    """Of all posts, on those of the example study."""
    return lambda request: answer if request.method == "POST" and STUDY.encode() not in request.body else None
