"""A FHIR server that asks who is there: tokens renewed while it is asked, and whether it refuses one report or everything."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors.fhir import FhirServer
from connectors.http_access import HttpAccess
from connectors.tls import CertificateFiles
from schemas.errors import AccessRefused, FhirServerUnavailable, SettingsInvalid
from tests.unit.certificates import Authority, Pair
from tests.unit.http_peer import Handler, http_peer
from tests.unit.tls_client import TlsClientContract
from tests.unit.token_server import SECRET, TokenServer, client, token_server

NOTHING_FOUND = b'{"resourceType": "Bundle", "type": "searchset"}'
PROBE = "urn:radstream:probe"


def good(handler: Handler) -> None:
    handler.answer(200, "application/fhir+json", NOTHING_FOUND)


def asks_for(wanted: Callable[[], str], seen: list[str | None] | None = None) -> Callable[[Handler], None]:
    def reply(handler: Handler) -> None:
        if seen is not None:
            seen.append(handler.headers["Authorization"])
        if handler.headers["Authorization"] == wanted():
            good(handler)
        else:
            handler.answer(401, "text/plain", b"first-t0ken has expired", **{"WWW-Authenticate": "Bearer"})

    return reply


@asynccontextmanager
async def server_at(url: str, access: HttpAccess = HttpAccess()) -> AsyncIterator[FhirServer]:
    server = FhirServer(url, timeout_s=5, access=access, pool_size=1)
    yield server
    await server.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first-t0ken\n")
    return file


async def test_a_rotated_token_is_used_without_a_restart(token: Path) -> None:
    valid = "Bearer first-t0ken"
    with http_peer(asks_for(lambda: valid)) as url:
        async with server_at(url, HttpAccess(token_file=token)) as server:
            assert await server.search_reports("A1") == []
            token.write_text("second-t0ken")
            valid = "Bearer second-t0ken"
            assert await server.search_reports("A1") == []


@pytest.mark.parametrize("path", ["", PROBE], ids=["at-once", "when-asked-whether-it-is-well"])
async def test_a_token_that_is_rotated_while_the_server_is_asked(token: Path, path: str) -> None:
    """The report was refused with the old one, the server answers with the new one: the report is not refused."""

    def reply(handler: Handler) -> None:
        if path in handler.path:
            token.write_text("second-t0ken")
        asks_for(lambda: "Bearer second-t0ken")(handler)

    with http_peer(reply) as url:
        async with server_at(url, HttpAccess(token_file=token)) as server:
            assert await server.search_reports("A1") == []


async def test_a_token_of_oauth_that_is_refused_is_renewed_once(tmp_path: Path) -> None:
    """Revoked before its end, and the second one is good."""
    seen: list[str | None] = []
    with token_server() as tokens, http_peer(asks_for(lambda: "Bearer t0ken-2", seen)) as url:
        async with server_at(url, client(tokens, tmp_path)) as server:
            assert [await server.search_reports("A1") for _ in range(2)] == [[], []]
    assert seen == ["Bearer t0ken-1", "Bearer t0ken-2", "Bearer t0ken-2"]


async def test_tokens_that_are_refused_again_and_again_end(tmp_path: Path) -> None:
    """One for the report and one renewed; the same for the question whether it refuses everything."""
    seen: list[str | None] = []
    with token_server() as tokens, http_peer(asks_for(lambda: "Bearer none", seen)) as url:
        async with server_at(url, client(tokens, tmp_path)) as server:
            with pytest.raises(FhirServerUnavailable, match="refuses everything: .*check the token"):
                await server.search_reports("A1")
    assert seen == [f"Bearer t0ken-{number}" for number in (1, 2, 2, 3)]


async def test_what_refuses_everything_is_told_once_until_it_answers_again(token: Path) -> None:
    let_in = False

    def reply(handler: Handler) -> None:
        if let_in:
            good(handler)
        else:
            handler.answer(403, "text/plain", b"MRN-4711")

    with http_peer(reply) as url, capture_logs() as logged:
        async with server_at(url, HttpAccess(token_file=token)) as server:
            for let_in in (False, False, True, True, False):
                if let_in:
                    await server.search_reports("A1")
                else:
                    with pytest.raises(FhirServerUnavailable, match="refuses everything: HTTP 403") as caught:
                        await server.search_reports("A1")
                    assert "MRN" not in str(caught.value)
    assert [line.get("alarm") for line in logged] == ["fhir-server-refuses-everything", None, "fhir-server-refuses-everything"]
    assert [line["log_level"] for line in logged] == ["error", "info", "error"]


async def test_what_refuses_one_report_is_no_alarm_for_all(token: Path) -> None:
    def reply(handler: Handler) -> None:
        if PROBE in handler.path:
            good(handler)
        else:
            handler.answer(403, "text/plain", b"")

    with http_peer(reply) as url, capture_logs() as logged:
        async with server_at(url, HttpAccess(token_file=token)) as server:
            with pytest.raises(AccessRefused, match="answers other questions"):
                await server.search_reports("A1")
    assert logged == []


async def test_a_server_that_is_down_when_asked_whether_it_is_well_is_down(token: Path) -> None:
    def reply(handler: Handler) -> None:
        handler.answer(503 if PROBE in handler.path else 401, "text/plain", b"")

    with http_peer(reply) as url:
        async with server_at(url, HttpAccess(token_file=token)) as server:
            with pytest.raises(FhirServerUnavailable, match="HTTP 503"):
                await server.search_reports("A1")


async def test_a_token_endpoint_that_refuses_us_is_a_server_that_refuses_everything(tmp_path: Path) -> None:
    with token_server() as tokens, http_peer(good) as url, capture_logs() as logged:
        tokens.answer = 401, b'{"error": "invalid_client"}'
        async with server_at(url, client(tokens, tmp_path)) as server:
            with pytest.raises(FhirServerUnavailable, match="refuses everything: invalid_client: check client_id"):
                await server.search_reports("A1")
            tokens.answer = 500, b""
            with pytest.raises(FhirServerUnavailable, match="HTTP 500"):
                await server.search_reports("A1")
            tokens.answer = None
            await server.search_reports("A1")
    assert [line.get("alarm") for line in logged] == ["fhir-server-refuses-everything", None]


async def test_probe(token: Path) -> None:
    answers = iter([(200, NOTHING_FOUND), (401, b""), (500, b"")])

    def reply(handler: Handler) -> None:
        status, body = next(answers)
        assert PROBE in handler.path
        handler.answer(status, "application/fhir+json", body)

    with http_peer(reply) as url:
        async with server_at(url) as server:
            await server.probe()
            with pytest.raises(FhirServerUnavailable, match="check the token"):
                await server.probe()
            with pytest.raises(FhirServerUnavailable, match="HTTP 500"):
                await server.probe()


async def test_no_secret_in_any_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor that of a connection that fails, of which libraries like to tell."""

    def reply(handler: Handler) -> None:
        handler.close_connection = True

    with caplog.at_level(logging.DEBUG), capture_logs() as logged, token_server() as tokens, http_peer(reply) as url:
        async with server_at(url, client(tokens, tmp_path)) as server:
            with pytest.raises(FhirServerUnavailable) as caught:
                await server.search_reports("A1")
            told = "".join(map(repr, (server, vars(server), logged))) + caplog.text
    told += "".join(traceback.format_exception(caught.value))
    assert "t0ken" not in told
    assert SECRET not in told


def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="token_file"):
        FhirServer("http://127.0.0.1:9", access=HttpAccess(token_file=tmp_path / "nowhere"))


class TestTls(TlsClientContract):
    unavailable = FhirServerUnavailable
    good = staticmethod(good)

    @staticmethod
    async def ask(url: str, ca: Path | None, shown: Pair | None = None) -> None:
        access = HttpAccess(tls_ca=ca)
        if shown is not None:
            access = replace(access, tls_certificate=shown.certificate, tls_key=shown.key)
        async with server_at(url, access) as server:
            assert await server.search_reports("A1") == []

    async def test_the_token_endpoint_is_met_with_the_same_certificates(
        self, server: CertificateFiles, hospital: Authority, tmp_path: Path
    ) -> None:
        tokens, tls = TokenServer(), server.context()
        with http_peer(tokens.reply, tls) as token_url, http_peer(asks_for(lambda: "Bearer t0ken-1"), tls) as url:
            tokens.url = token_url
            plain = client(tokens, tmp_path)
            access = replace(plain, tls_ca=hospital.certificate)
            async with server_at(url, access) as asked:
                assert await asked.search_reports("A1") == []
            async with server_at(url, plain) as asked:
                with pytest.raises(FhirServerUnavailable):
                    await asked.search_reports("A1")
