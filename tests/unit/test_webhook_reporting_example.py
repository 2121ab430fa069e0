"""The receiver of docs/receivers.md takes what we send, once, and nothing else."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import requests

from connectors.reporting.webhook import WebhookReceiver
from schemas.errors import ReceiverUnavailable
from streams.clock import SystemClock
from streams.services.ports import ServicePorts
from tests.contract.example_findings import STUDY, two_findings
from tests.contract.webhook_server import SECRET, SECRET_2

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "receive.py"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path / "secret"


@pytest.fixture
def url(secret: Path) -> str:
    return f"http://127.0.0.1:{ServicePorts.free().kafka}"


@pytest.fixture
def lines(url: str, secret: Path) -> Iterator[queue.Queue[str]]:
    """What it prints."""
    command = [sys.executable, str(EXAMPLE), url.rpartition(":")[2], str(secret)]
    printed: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                printed.put(line.strip())

        threading.Thread(target=read, daemon=True).start()
        yield printed
        process.kill()


async def _listening(receiver: WebhookReceiver) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                return await receiver.probe()
            except ReceiverUnavailable:
                await asyncio.sleep(0.05)


def test_the_page_shows_it() -> None:
    page = (EXAMPLE.parents[1] / "receivers.md").read_text("utf-8")
    shown = page.partition("```python\n")[2].partition("```")[0]
    assert shown.startswith("secret = ")
    assert shown in EXAMPLE.read_text("utf-8")


async def test_it_takes_what_we_send_once(lines: queue.Queue[str], url: str, secret: Path) -> None:
    receiver = WebhookReceiver(url, secret_file=secret, timeout_s=10, clock=SystemClock())
    await _listening(receiver)
    for _ in range(2):
        await receiver.tell(two_findings(), None)
    event = b'{"study_instance_uid": "1.2.3"}'
    await receiver.tell_event(event, UUID(int=1), "org.radstream.discrepancy.escalated.v1")
    said = [lines.get(timeout=60) for _ in range(2)]
    assert said == [f"org.radstream.findings.v1 {STUDY}", "org.radstream.discrepancy.escalated.v1 1.2.3"]
    assert requests.post(url, event, headers={"webhook-signature": "x"}, timeout=10).status_code == 401
    secret.write_text(SECRET_2)  # which the receiver does not know
    with pytest.raises(ReceiverUnavailable, match="refuses everything"):
        await receiver.tell(two_findings(), None)
    assert lines.empty()
    await receiver.close()
