"""A webhook over real sockets, whoever posts to it, and the log that the notices go to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from connectors.pacs.webhook import Webhook
from schemas.notices import StudyNoticed

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STUDY = "1.2.840.99"
TOKEN = "first-t0ken"
NAME = "Mustermann^Erika"
DEADLINE_S = 20


@pytest.fixture(name="token")
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


class Noon:
    def now(self) -> datetime:
        return NOON


class Caller:
    """Someone with a token, and the log that the notices go to."""

    def __init__(self, webhook: Webhook, scheme: str, ca: Path | None) -> None:
        self.port = webhook.port
        self.told: list[StudyNoticed] = []
        self.broker: BaseException | None = None
        self.writing, self.written = asyncio.Event(), asyncio.Event()
        self.written.set()
        self._url = f"{scheme}://127.0.0.1:{webhook.port}"
        self._ca = ca

    async def tell(self, notices: Sequence[StudyNoticed]) -> None:
        self.writing.set()
        await self.written.wait()
        if self.broker is not None:
            raise self.broker
        self.told += notices

    async def ask(self, method: str, path: str, *, token: str | None = TOKEN, **said: Any) -> requests.Response:
        headers = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **said.pop("headers", {})}
        verify = str(self._ca) if self._ca else None
        url = self._url + path
        return await asyncio.to_thread(requests.request, method, url, headers=headers, timeout=DEADLINE_S, verify=verify, **said)

    async def post(self, body: Any, **said: Any) -> requests.Response:
        return await self.ask("POST", "/studies", json=body, **said)


@asynccontextmanager
async def listening(token: Path, *, ca: Path | None = None, **said: Any) -> AsyncIterator[Caller]:
    webhook = Webhook(Noon(), token_file=token, default_accession_assigner="SITE", port=0, **said)
    stop, ready = asyncio.Event(), asyncio.Event()
    callers: list[Caller] = []

    async def tell(notices: Sequence[StudyNoticed]) -> None:
        await callers[0].tell(notices)

    task = asyncio.create_task(webhook.listen(tell, stop, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    waiting.cancel()
    if task.done():
        task.result()
    callers.append(Caller(webhook, "https" if ca else "http", ca))
    try:
        yield callers[0]
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await task


async def exchange(port: int, *pieces: bytes) -> bytes:
    """What a caller hears that speaks no HTTP library, until it is hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(DEADLINE_S):
        heard = await reader.read()
    writer.close()
    return heard


def post(body: bytes, length: int | None = None, token: str = TOKEN) -> bytes:
    head = f"POST /studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
