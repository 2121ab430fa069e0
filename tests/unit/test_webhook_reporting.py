"""A web server that is told findings: what it can prove of them, and what each of its answers means."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from structlog.testing import capture_logs

from connectors.archive_access import ArchiveAccess
from connectors.reporting.webhook import WebhookReceiver
from connectors.tls import CertificateFiles
from schemas.errors import (
    AccessRefused,
    ItemNotServed,
    RadstreamError,
    ReceiverUnavailable,
    ResourceRefused,
    SettingsInvalid,
)
from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Clock
from streams.clock import SystemClock
from tests.contract.example_findings import DEVICES, devices_alone, every_state, findings, subject, two_findings
from tests.contract.webhook_server import SECRET, SECRET_2, Fault, WebhookServer, webhook_server
from tests.unit.certificates import Authority
from tests.unit.test_http_access import client, token_server

STUDY = StudyInstanceUID("2.25.77")
OTHER = two_findings(subject(1, study=STUDY))


class _Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
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


@pytest.fixture
async def receiver(server: WebhookServer, secret: Path) -> AsyncIterator[WebhookReceiver]:
    async with told(server.url, secret) as receiver:
        yield receiver


def on_post(answer: int | tuple[int, bytes] | str) -> Fault:
    return lambda request: answer if request.method == "POST" else None


def on_one(answer: int | tuple[int, bytes] | str) -> Fault:
    """Of all posts, on those of the example study."""
    return lambda request: answer if request.method == "POST" and STUDY.encode() not in request.body else None


# ------------------------------------------------------------------------------------------------------- what it is told


@pytest.mark.parametrize("state", every_state().values(), ids=every_state())
async def test_it_is_told_the_value_of_ai_results(server: WebhookServer, receiver: WebhookReceiver, state: Findings) -> None:
    answer = await receiver.tell(state, None)
    (request,) = server.posts
    assert Findings.model_validate_json(request.body) == state
    assert request.body == state.model_dump_json().encode()
    assert answer.reference == f"webhook-id {request.id}"
    assert request.path == "/findings?site=1"
    assert request.headers["content-type"] == "application/json"
    assert {name: request.headers[f"ce-{name}"] for name in ("specversion", "id", "type", "source")} == {
        "specversion": "1.0",
        "id": request.id,
        "type": FINDINGS_TYPE,
        "source": "radstream",
    }


async def test_the_id_is_of_the_state_and_not_of_the_sending(server: WebhookServer, secret: Path) -> None:
    """Also after a restart, and by another process."""
    state = two_findings(subject(4))
    clock = _Clock(datetime.now(UTC))
    for _ in range(2):
        async with told(server.url, secret, clock=clock) as receiver:
            await receiver.tell(state, None)
            await receiver.tell(state, state)
        clock.at += timedelta(seconds=61)
    assert len(server.posts) == 4
    assert len({request.id for request in server.posts}) == len(server.taken) == 1
    assert len({request.headers["webhook-timestamp"] for request in server.posts}) == 2
    async with told(server.url, secret) as receiver:
        for other in (
            two_findings(subject(5)),
            devices_alone(subject(4)),
            state.model_copy(update={"service": DEVICES}),
            state.model_copy(update={"analysis_id": uuid4()}),
            OTHER,
        ):
            await receiver.tell(other, state)
    assert len(server.taken) == 6


async def test_a_replay_is_refused(server: WebhookServer, secret: Path) -> None:
    clock = _Clock(datetime.now(UTC) - timedelta(minutes=6))
    async with told(server.url, secret, clock=clock) as receiver:
        with pytest.raises(ReceiverUnavailable):  # a clock that is wrong: the receiver takes it for a replay
            await receiver.tell(OTHER, None)
        assert not server.taken
        clock.at = datetime.now(UTC)
        await receiver.tell(OTHER, None)
    (captured,) = server.taken.values()
    again = requests.post(server.url, captured.body, headers=dict(captured.headers), timeout=10)
    assert (again.status_code, len(server.taken), server.repeated) == (200, 1, 1)
    forged = captured.body.replace(b'"chest-nodule"', b'"other-model12"')
    assert forged != captured.body
    assert requests.post(server.url, forged, headers=dict(captured.headers), timeout=10).status_code == 401


async def test_a_secret_is_rotated_without_a_restart(server: WebhookServer, receiver: WebhookReceiver, secret: Path) -> None:
    secret.write_text(f"{SECRET}\n{SECRET_2}")
    await receiver.tell(two_findings(subject(1)), None)
    server.secrets = [SECRET_2]
    await receiver.tell(two_findings(subject(2)), None)
    secret.write_text(SECRET_2)
    await receiver.tell(two_findings(subject(3)), None)
    assert len(server.taken) == 3


async def test_an_event_is_told(server: WebhookServer, receiver: WebhookReceiver) -> None:
    id, body = uuid4(), json.dumps({"what": "心律調節器"}, ensure_ascii=False).encode()
    for _ in range(2):
        answer = await receiver.tell_event(body, id, "org.radstream.discrepancy.escalated.v1")
    assert answer.reference == f"webhook-id {id}"
    (request,) = server.taken.values()
    assert (request.body, request.headers["ce-type"]) == (body, "org.radstream.discrepancy.escalated.v1")
    assert (server.repeated, server.held) == (1, {})


# --------------------------------------------------------------------------------------------------- what it answers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_taken(server: WebhookServer, receiver: WebhookReceiver, status: int) -> None:
    server.fault = on_post(status)
    assert (await receiver.tell(OTHER, None)).reference


@pytest.mark.parametrize("status", [400, 409, 410, 411, 413, 422])
async def test_what_it_says_of_the_content_is_kept(server: WebhookServer, receiver: WebhookReceiver, status: int) -> None:
    server.fault = on_post((status, b"MRN-4711 is unknown"))
    with pytest.raises(ResourceRefused) as caught:
        await receiver.tell(OTHER, None)
    assert caught.value.operation_outcome == b"MRN-4711 is unknown"
    assert "MRN" not in str(caught.value)


@pytest.mark.parametrize("answer", [408, 500, 503, "close", 404, 405, 401, 403, 301])
async def test_it_is_not_well(server: WebhookServer, receiver: WebhookReceiver, answer: int | str) -> None:
    """Every message fails, whether OPTIONS is answered or not, and whether it has taken one before or not."""
    server.fault = on_post(answer)
    with pytest.raises(ReceiverUnavailable):
        await receiver.tell(OTHER, None)
    server.fault = lambda request: None
    await receiver.tell(OTHER, None)
    server.fault = on_post(answer)
    with pytest.raises(ReceiverUnavailable):
        await receiver.tell(findings(), None)
    assert len(server.taken) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, ItemNotServed),
        ("close", ItemNotServed),
        (404, ItemNotServed),
        (401, AccessRefused),
        (403, AccessRefused),
    ],
)
async def test_it_fails_on_one_message(
    server: WebhookServer, receiver: WebhookReceiver, answer: int | str, error: type[RadstreamError]
) -> None:
    """Whether it is well tells the last message that it took: a repetition, which it drops."""
    await receiver.tell(OTHER, None)
    server.fault = on_one(answer)
    with pytest.raises(error):
        await receiver.tell(findings(), None)
    assert (len(server.taken), server.repeated) == (1, 1)


@pytest.mark.parametrize(("answer", "error"), [(500, ItemNotServed), (404, ItemNotServed), (403, AccessRefused)])
async def test_it_fails_on_the_first_message(
    server: WebhookServer, receiver: WebhookReceiver, answer: int, error: type[RadstreamError]
) -> None:
    """Nobody knows yet whether on that one alone: some tries later the next one is tried."""
    server.fault = on_one(answer)
    for _ in range(4):
        with pytest.raises(ReceiverUnavailable, match="nothing was taken since the start"):
            await receiver.tell(findings(), None)
    with pytest.raises(error):
        await receiver.tell(findings(), None)
    await receiver.tell(OTHER, None)


@pytest.mark.parametrize("answer", [401, 302])
async def test_what_no_content_can_cause(server: WebhookServer, receiver: WebhookReceiver, answer: int) -> None:
    """A wrong secret from the first message on: none of them becomes a dead letter."""
    server.fault = on_post(answer)
    for sequence in range(1, 8):
        with pytest.raises(ReceiverUnavailable, match="refuses everything|leads elsewhere"):
            await receiver.tell(two_findings(subject(sequence)), None)


async def test_one_that_fails_on_what_it_had_taken_is_not_well(server: WebhookServer, receiver: WebhookReceiver) -> None:
    await receiver.tell(OTHER, None)
    server.fault = on_post(500)
    for _ in range(6):
        with pytest.raises(ReceiverUnavailable, match="had taken this one before"):
            await receiver.tell(OTHER, OTHER)


async def test_one_that_hangs_costs_no_more_than_the_time_limit(server: WebhookServer, secret: Path) -> None:
    server.fault = lambda request: "hang"
    async with told(server.url, secret, timeout_s=0.5) as receiver:
        with pytest.raises(ReceiverUnavailable):
            await receiver.tell(OTHER, None)
        with pytest.raises(ReceiverUnavailable):
            await receiver.probe()


async def test_nobody_listens(server: WebhookServer, secret: Path) -> None:
    async with told("http://127.0.0.1:9/findings", secret, timeout_s=0.5) as receiver:
        for call in (receiver.tell(OTHER, None), receiver.probe()):
            with pytest.raises(ReceiverUnavailable):
                await call


async def test_an_answer_without_an_end_is_not_read(server: WebhookServer, receiver: WebhookReceiver) -> None:
    server.fault = on_post((422, b"x" * 20_000_000))
    with pytest.raises(ResourceRefused) as caught:
        await receiver.tell(OTHER, None)
    assert len(caught.value.operation_outcome) < 1_000_000


async def test_a_redirect_is_not_followed(server: WebhookServer, receiver: WebhookReceiver) -> None:
    """It would carry a patient's data to an address that nobody has set."""
    server.fault = lambda request: 307
    for call in (receiver.tell(OTHER, None), receiver.probe()):
        with pytest.raises(ReceiverUnavailable, match="leads elsewhere"):
            await call
    assert {request.path for request in server.requests} == {"/findings?site=1"}


# --------------------------------------------------------------------------------------------------- probe and access


@pytest.mark.parametrize("status", [200, 204, 400, 404, 405, 501])
async def test_a_probe_of_one_that_is_there(server: WebhookServer, receiver: WebhookReceiver, status: int) -> None:
    server.fault = lambda request: status
    await receiver.probe()
    assert [request.method for request in server.requests] == ["OPTIONS"]
    assert not server.requests[0].body


@pytest.mark.parametrize("status", [401, 403, 302, 500, 503])
async def test_a_probe_of_one_that_takes_nothing(server: WebhookServer, receiver: WebhookReceiver, status: int) -> None:
    server.fault = lambda request: status
    with pytest.raises(ReceiverUnavailable):
        await receiver.probe()


async def test_one_that_refuses_everything_is_an_alarm_once(server: WebhookServer, receiver: WebhookReceiver) -> None:
    server.fault = lambda request: 401
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(ReceiverUnavailable, match="refuses everything"):
                await receiver.tell(OTHER, None)
        server.fault = lambda request: None
        await receiver.tell(OTHER, None)
    assert [log["log_level"] for log in logs] == ["error", "info"]
    assert logs[0]["alarm"]


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
