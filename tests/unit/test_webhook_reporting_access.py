"""What a web server asks before it takes findings: tokens and certificates; and that nothing is logged."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from connectors.archive_access import ArchiveAccess
from connectors.reporting.webhook import WebhookReceiver
from connectors.tls import CertificateFiles
from schemas.errors import RadstreamError, ReceiverUnavailable, SettingsInvalid
from streams.clock import SystemClock
from tests.contract.example_findings import findings
from tests.contract.webhook_server import WebhookServer, webhook_server
from tests.unit.certificates import Authority
from tests.unit.token_server import client, token_server
from tests.unit.webhook_receivers import OTHER, on_post, told
from tests.unit.webhook_receivers import secret_file as secret_file  # fixtures
from tests.unit.webhook_receivers import web_receiver as web_receiver
from tests.unit.webhook_receivers import web_server as web_server


async def test_a_token_goes_with_it(server: WebhookServer, secret: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    server.fault = lambda request: None if request.headers.get("authorization") == "Bearer t0ken" else 401
    async with told(server.url, secret, access=ArchiveAccess(token_file=tmp_path / "token")) as receiver:
        await receiver.probe()
        await receiver.tell(OTHER, None)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        WebhookReceiver(
            server.url,
            secret_file=secret,
            timeout_s=1,
            clock=SystemClock(),
            access=ArchiveAccess(token_file=tmp_path / "none"),
        )


async def test_a_token_of_a_token_endpoint_goes_with_it(server: WebhookServer, secret: Path, tmp_path: Path) -> None:
    server.fault = lambda request: None if request.headers.get("authorization") == "Bearer t0ken-2" else 401
    (tmp_path / "client").mkdir()
    with token_server() as endpoint:
        access = ArchiveAccess(oauth2=client(endpoint, tmp_path / "client"))
        async with told(server.url, secret, access=access) as receiver:
            await receiver.tell(OTHER, None)
            await receiver.probe()
    assert len(endpoint.asked) == 2, "renewed once"


async def test_both_sides_show_a_certificate(secret: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "hospital")
    theirs, ours = authority.sign("web"), authority.sign("radstream")
    with webhook_server(CertificateFiles(theirs.certificate, theirs.key, authority.certificate).context()) as server:
        access = ArchiveAccess(tls_ca=authority.certificate, tls_certificate=ours.certificate, tls_key=ours.key)
        async with told(server.url, secret, access=access) as receiver:
            await receiver.tell(OTHER, None)
        async with told(server.url, secret) as receiver:
            with pytest.raises(ReceiverUnavailable, match="TLS"):
                await receiver.tell(OTHER, None)
    assert len(server.taken) == 1


async def test_no_proxy_and_no_log(
    server: WebhookServer, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)
    await receiver.tell(OTHER, None)
    server.fault = on_post((500, b"MRN-4711"))
    with pytest.raises(RadstreamError):
        await receiver.tell(findings(), None)
    assert len(server.taken) == 1
    assert not [record for record in caplog.records if record.name.startswith(("urllib3", "requests"))]
