"""The webhook over real sockets: who is hung up on, what is no HTTP, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import requests
from structlog.testing import capture_logs

from connectors.pacs.webhook import Webhook
from schemas.errors import SettingsInvalid
from schemas.notices import StudyNoticed
from tests.unit.certificates import Authority
from tests.unit.webhook_caller import DEADLINE_S, NAME, STUDY, Noon, exchange, listening, post
from tests.unit.webhook_caller import token_file as token_file  # the fixture `token`


async def test_whoever_is_slow_is_hung_up_on(token: Path) -> None:
    """In its headers, in its body, or saying nothing at all; others are served meanwhile."""
    async with listening(token, body_s=2, idle_s=3) as caller:
        slow = [exchange(caller.port), exchange(caller.port, b"POST /stu"), exchange(caller.port, post(b"{", length=10))]
        waiting = [asyncio.create_task(one) for one in slow]
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202
        silent, head, body = await asyncio.gather(*waiting)
        assert (silent, head) == (b"", b"")
        assert body.startswith(b"HTTP/1.1 408 ")


async def test_more_connections_than_allowed_are_refused(token: Path) -> None:
    async with listening(token, connections=1, idle_s=5) as caller:
        reader, writer = await asyncio.open_connection("127.0.0.1", caller.port)
        writer.write(post(b'{"study_instance_uid": "1.2"}'))
        assert (await reader.readline()).startswith(b"HTTP/1.1 202 ")
        with pytest.raises(requests.ConnectionError):
            await caller.post({"study_instance_uid": STUDY})
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        f"GET /{NAME} HTTP/9.9\r\nHost: x\r\n\r\n".encode(),
        f"{NAME} HTTP/1.1\r\n\r\n".encode(),
        f"POST /studies HTTP/1.1\r\nHost: x\r\n{NAME}\r\n\r\n".encode(),
        f"POST /studies HTTP/1.1\r\nHost: x\r\nContent-Length: {NAME}\r\n\r\n".encode(),
        f"POST /studies HTTP/1.1\r\nHost: x\r\nX-Name: {NAME * 600}\r\n\r\n".encode(),
        b"\x16\x03\x01" + NAME.encode(),
    ],
)
async def test_what_is_no_http_comes_back_in_no_word(token: Path, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(token, idle_s=3) as caller:
        heard = await exchange(caller.port, sent)
        assert heard.partition(b"\r\n")[0].endswith(b" 400 Bad Request"), heard
        assert b"Mustermann" not in heard
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202
    assert "Mustermann" not in caplog.text
    assert STUDY not in caplog.text


async def test_what_is_in_flight_at_the_end_is_answered(token: Path) -> None:
    async with listening(token) as caller:
        caller.written.clear()
        asking = asyncio.create_task(caller.post({"study_instance_uid": STUDY}))
        await caller.writing.wait()
        asyncio.get_running_loop().call_later(0.3, caller.written.set)
    assert (await asking).status_code == 202
    assert len(caller.told) == 1
    with pytest.raises(requests.ConnectionError):
        await caller.post({"study_instance_uid": STUDY})


async def test_a_caller_that_leaves_has_told_all_the_same(token: Path) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            caller.written.clear()
            with closing(socket.create_connection(("127.0.0.1", caller.port))) as own:
                own.sendall(post(b'{"study_instance_uid": "1.2"}'))
                await caller.writing.wait()
            caller.written.set()
    assert [notice.study_instance_uid for notice in caller.told] == ["1.2"]
    assert logs == []


async def test_a_body_that_breaks_off_is_no_fault_of_ours(token: Path) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller, asyncio.timeout(DEADLINE_S):
            with closing(socket.create_connection(("127.0.0.1", caller.port))) as own:
                own.sendall(post(b'{"study_instance_uid": "1.2"}', length=99))
            while not logs:
                await asyncio.sleep(0.01)
    assert [(one["event"], one["status"], one["reason"]) for one in logs] == [("a notice is not taken", 400, "it breaks off")]
    assert caller.told == []


async def test_a_taken_address_is_told(token: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        webhook = Webhook(Noon(), token_file=token, default_accession_assigner="SITE", port=port)

        async def tell(notices: Sequence[StudyNoticed]) -> None:
            raise AssertionError

        with pytest.raises(SettingsInvalid, match=f"127.0.0.1:{port}: the address cannot be bound"):
            await webhook.listen(tell, asyncio.Event(), lambda: None)


async def test_tls_and_a_certificate_that_is_renewed(token: Path, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    first, second = old.sign("webhook"), new.sign("webhook")
    said = {"certificate": first.certificate, "key": first.key}
    async with listening(token, ca=old.certificate, **said) as caller:
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202
        with pytest.raises(requests.ConnectionError):
            await asyncio.to_thread(requests.get, f"http://127.0.0.1:{caller.port}/health", timeout=DEADLINE_S)
        first.key.write_bytes(second.key.read_bytes())
        first.certificate.write_bytes(second.certificate.read_bytes())
        with pytest.raises(requests.exceptions.SSLError):
            await caller.post({"study_instance_uid": STUDY})
        url = f"https://127.0.0.1:{caller.port}/health"
        assert (await asyncio.to_thread(requests.get, url, verify=str(new.certificate), timeout=DEADLINE_S)).ok


async def test_a_certificate_that_cannot_be_used_is_told_at_start(token: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be used as certificate"):
        async with listening(token, certificate=tmp_path / "none", key=tmp_path / "none"):
            pass
