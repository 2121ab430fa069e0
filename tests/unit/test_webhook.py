"""The webhook over real sockets: who is heard, what is taken, and what never comes back."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from structlog.testing import capture_logs

from connectors.pacs.webhook import BODY_LIMIT, Webhook
from schemas.errors import BrokerUnavailable, SettingsInvalid
from schemas.notices import StudyNoticed
from tests.unit.certificates import Authority

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
STUDY = "1.2.840.99"
TOKEN = "first-t0ken"
DEADLINE_S = 20


class _Noon:
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


Listening = Callable[..., Any]


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@asynccontextmanager
async def listening(token: Path, *, ca: Path | None = None, **said: Any) -> AsyncIterator[Caller]:
    webhook = Webhook(_Noon(), token_file=token, default_accession_assigner="SITE", port=0, **said)
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


async def test_what_is_posted_is_on_the_log_when_the_caller_is_thanked(token: Path) -> None:
    async with listening(token) as caller:
        whole = {
            "study_instance_uid": STUDY,
            "accession_number": "A7",
            "issuer_of_accession_number": "RIS",
            "instances": ["1.2.1", "1.2.2"],
            "instance_count": 2,
            "settled": True,
            "removed": False,
            "source_ae_title": "CR1",
            "id": "change 17",
        }
        answer = await caller.post(whole)
        [notice] = caller.told
        assert (answer.status_code, answer.json()) == (202, {"id": str(notice.id)})
        assert notice == StudyNoticed.model_validate({
            "id": notice.id,
            "time": NOON,
            "source": "webhook",
            "source_position": "change 17",
            "study_instance_uid": STUDY,
            "accession_number": {"value": "A7", "assigner": "RIS"},
            "settled": True,
            "instances": ("1.2.1", "1.2.2"),
            "instance_count": 2,
            "source_ae_title": "CR1",
        })  # fmt: skip


async def test_the_accession_number_alone_is_of_the_default_assigner(token: Path) -> None:
    async with listening(token) as caller:
        assert (await caller.post({"accession_number": "A7"})).status_code == 202
        [notice] = caller.told
        assert (str(notice.accession_number), notice.study_instance_uid, notice.settled) == ("A7^SITE", None, False)


async def test_a_repeat_is_the_same_notice(token: Path) -> None:
    async with listening(token) as caller:
        for body in (
            {"study_instance_uid": STUDY},
            {"study_instance_uid": STUDY},
            {"study_instance_uid": STUDY, "settled": True},
            {"study_instance_uid": STUDY, "id": "7"},
            {"study_instance_uid": STUDY, "id": "7", "settled": True},
            {"study_instance_uid": "1.2.841", "id": "7"},
        ):
            assert (await caller.post(body)).status_code == 202
        bare, again, settled, named, named_again, other = (notice.id for notice in caller.told)
        assert (bare, named) == (again, named_again)
        assert len({bare, settled, named, other}) == 4


async def test_health_needs_no_token(token: Path) -> None:
    async with listening(token) as caller:
        assert (await caller.ask("GET", "/health", token=None)).status_code == 200


@pytest.mark.parametrize("shown", [None, "", "second-t0ken", "first-t0ke", "first-t0ken2", "t\u00f6ken"])
async def test_without_the_token_nothing_is_taken(token: Path, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": f"Bearer {shown}".encode()}
    async with listening(token) as caller:
        answer = await caller.post({"study_instance_uid": STUDY}, token=None, headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="radstream"')
        basic = await caller.post({"study_instance_uid": STUDY}, token=None, headers={"Authorization": f"Basic {TOKEN}"})
        assert basic.status_code == 401
        assert caller.told == []


async def test_a_rotated_token_works_at_once_and_the_old_one_no_more(token: Path) -> None:
    async with listening(token) as caller:
        token.write_text("second-t0ken")
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 401
        assert (await caller.post({"study_instance_uid": STUDY}, token="second-t0ken")).status_code == 202


async def test_while_the_file_holds_no_token_nobody_gets_in(token: Path) -> None:
    async with listening(token) as caller:
        for spoil in (lambda: token.write_text(""), token.unlink):
            spoil()
            answer = await caller.post({"study_instance_uid": STUDY})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert caller.told == []


async def test_a_token_file_that_cannot_be_used_is_told_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="webhook: credentials: .* cannot be read"):
        async with listening(tmp_path / "none"):
            pass


async def test_while_the_broker_is_away_the_caller_must_come_again(token: Path) -> None:
    async with listening(token) as caller:
        caller.broker = BrokerUnavailable("append", "imaging.notices", "no answer")
        answer = await caller.post({"study_instance_uid": STUDY})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        caller.broker = None
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202


NAME = "Mustermann^Erika"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"study_instance_uid": NAME}, "study_instance_uid: StudyInstanceUID is not a DICOM UID"),
        ({"study_instance_uid": STUDY, "instances": ["1.2", NAME]}, "instances.1: SOPInstanceUID is not a DICOM UID"),
        ({"study_instance_uid": STUDY, "instances": NAME}, "instances: Input should be a valid array"),
        ({"study_instance_uid": STUDY, "instance_count": NAME}, "instance_count: Input should be a valid integer"),
        ({"study_instance_uid": STUDY, "instance_count": -1}, "instance_count: Input should be greater"),
        ({"study_instance_uid": STUDY, "settled": NAME}, "settled: Input should be a valid boolean"),
        ({"study_instance_uid": STUDY, "settled": "true"}, "settled: Input should be a valid boolean"),
        ({"study_instance_uid": STUDY, "source_ae_title": NAME * 2}, "source_ae_title: String should match"),
        ({"accession_number": {NAME: NAME}}, "accession_number: Input should be a valid string"),
        ({"accession_number": NAME * 50}, "accession_number: String should have at most 250"),
        ({"study_instance_uid": STUDY, NAME: NAME}, "a field that is not known; there are id, study_instance_uid,"),
        ({"study_instance_uid": STUDY, "hint": True}, "a field that is not known"),
        ({"study_instance_uid": STUDY, "issuer_of_accession_number": NAME}, "goes with accession_number"),
        ({}, "name the study_instance_uid, or else the accession_number"),
        ([NAME], "Input should be an object"),
        (NAME, "Input should be an object"),
    ],
)
async def test_what_is_wrong_is_named_and_not_repeated(token: Path, body: Any, field: str) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            answer = await caller.post(body)
            assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json; charset=utf-8")
            assert field in answer.json()["detail"]
            assert caller.told == []
    assert "Mustermann" not in answer.text + json.dumps(logs)
    assert [(one["event"], one["status"]) for one in logs] == [("a notice is not taken", 400)]


@pytest.mark.parametrize("body", [NAME.encode(), b"", b'{"study_instance_uid": "1.2"', b"\xff\xfe{}", b"[" * 5000, b"<study/>"])
async def test_what_is_no_json_is_refused(token: Path, body: bytes) -> None:
    async with listening(token) as caller:
        answer = await caller.ask("POST", "/studies", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert "Invalid JSON" in answer.json()["detail"]
        assert "Mustermann" not in answer.text


async def test_other_paths_methods_and_types(token: Path) -> None:
    async with listening(token) as caller:
        assert (await caller.ask("GET", f"/{NAME}")).status_code == 404
        assert NAME not in (await caller.ask("GET", f"/{NAME}")).text
        wrong = await caller.ask("GET", "/studies")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}):
            assert (await caller.ask("POST", "/studies", data=b"{}", headers=headers)).status_code == 415


async def test_a_body_that_is_too_large(token: Path) -> None:
    large = {"study_instance_uid": STUDY, "source_ae_title": "x" * BODY_LIMIT}
    async with listening(token) as caller:
        assert (await caller.post(large)).status_code == 413
        chunked = await caller.ask(
            "POST", "/studies", data=iter([b"x" * BODY_LIMIT, b"x"]), headers={"Content-Type": "application/json"}
        )
        assert chunked.status_code == 413


async def test_whoever_is_slow_is_hung_up_on(token: Path) -> None:
    """In its headers, in its body, or saying nothing at all; others are served meanwhile."""
    async with listening(token, body_s=0.2, idle_s=0.4) as caller:
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
    async with listening(token, idle_s=0.5) as caller:
        heard = await exchange(caller.port, sent)
        assert heard.partition(b"\r\n")[0].endswith(b" 400 Bad Request"), heard
        assert b"Mustermann" not in heard
        assert (await caller.post({"study_instance_uid": STUDY})).status_code == 202
    assert "Mustermann" not in caplog.text
    assert STUDY not in caplog.text


async def test_an_error_of_our_own_is_told_without_its_words(token: Path) -> None:
    with capture_logs() as logs:
        async with listening(token) as caller:
            caller.broker = ValueError(NAME)
            answer = await caller.post({"study_instance_uid": STUDY})
            assert answer.status_code == 500
    [line] = logs
    assert (line["event"], line["error"]) == ("a request failed", "ValueError")
    assert "Mustermann" not in answer.text + json.dumps(logs)


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
        webhook = Webhook(_Noon(), token_file=token, default_accession_assigner="SITE", port=port)

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
