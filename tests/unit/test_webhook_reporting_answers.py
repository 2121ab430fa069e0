"""What each answer of a web server that is told findings means: is it about one message or about all?"""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.reporting.webhook import WebhookReceiver
from schemas.errors import AccessRefused, ItemNotServed, RadstreamError, ReceiverUnavailable, ResourceRefused
from tests.contract.example_findings import findings, subject, two_findings
from tests.contract.webhook_server import WebhookServer
from tests.unit.webhook_receivers import OTHER, on_one, on_post, told
from tests.unit.webhook_receivers import secret_file as secret_file  # fixtures
from tests.unit.webhook_receivers import web_receiver as web_receiver
from tests.unit.webhook_receivers import web_server as web_server


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
