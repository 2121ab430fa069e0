"""What a web server is told of findings, and what it can prove of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from connectors.reporting.webhook import WebhookReceiver
from schemas.errors import ReceiverUnavailable
from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings
from tests.contract.example_findings import DEVICES, devices_alone, every_state, subject, two_findings
from tests.contract.webhook_server import SECRET, SECRET_2, WebhookServer
from tests.unit.webhook_receivers import OTHER, told
from tests.unit.webhook_receivers import secret_file as secret_file  # fixtures
from tests.unit.webhook_receivers import web_receiver as web_receiver
from tests.unit.webhook_receivers import web_server as web_server


class _Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


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
