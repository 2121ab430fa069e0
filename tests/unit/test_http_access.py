"""Bearer tokens, OAuth 2.0 client credentials and certificates of a web server: renewed while it is asked, never told."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.http_access import Authorization, HttpAccess
from schemas.errors import AccessRefused, FhirServerUnavailable, RadstreamError, SettingsInvalid
from tests.unit.http_peer import Handler, http_peer
from tests.unit.token_server import SECRET, TokenServer, client, token, token_server


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


def authorization(access: HttpAccess) -> Authorization:
    return Authorization(access, "fhir", FhirServerUnavailable)


def test_no_access_is_no_header() -> None:
    assert authorization(HttpAccess()).header(1) is None


def test_a_token_file_is_read_each_time_and_its_last_token_kept(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    of = authorization(HttpAccess(token_file=file))
    assert of.header(1) == "Bearer first"
    file.write_text("second")
    assert of.header(1) == "Bearer second"
    for unusable in ("", "two words", "line\nbreak"):
        file.write_text(unusable)
        assert of.header(1) == "Bearer second"
    file.unlink()
    assert of.header(1) == "Bearer second"


def test_client_credentials_as_rfc_6749_has_them(server: TokenServer, tmp_path: Path) -> None:
    of = authorization(client(server, tmp_path, scope="system/*.cruds"))
    assert [of.header(5) for _ in range(3)] == ["Bearer t0ken-1"] * 3, "one token serves until it ends"
    ((shown, form),) = server.asked
    assert shown == "Basic " + base64.b64encode(f"radstream:{SECRET}".encode()).decode()
    assert form == {"grant_type": ["client_credentials"], "scope": ["system/*.cruds"]}


@pytest.mark.parametrize("life_s", [0, "0"])
def test_a_token_that_has_ended_is_fetched_anew(server: TokenServer, tmp_path: Path, life_s: object) -> None:
    server.life_s = life_s
    of = authorization(client(server, tmp_path))
    assert [of.header(5), of.header(5)] == ["Bearer t0ken-1", "Bearer t0ken-2"]


def test_a_token_without_an_end_is_used_until_it_is_refused(server: TokenServer, tmp_path: Path) -> None:
    server.life_s = None
    of = authorization(client(server, tmp_path))
    first = of.header(5)
    assert of.header(5) == first
    assert of.refused(first)
    second = of.header(5)
    assert second == "Bearer t0ken-2"
    of.refused(first)  # of another thread, which had not heard of the second
    assert of.header(5) == second


def test_a_renewed_secret_is_used_without_a_restart(server: TokenServer, tmp_path: Path) -> None:
    server.life_s = 0
    of = authorization(client(server, tmp_path))
    of.header(5)
    (tmp_path / "secret").write_text("another")
    of.header(5)
    assert server.asked[1][0] == "Basic " + base64.b64encode(b"radstream:another").decode()


def test_many_threads_fetch_one_token(server: TokenServer, tmp_path: Path) -> None:
    of = authorization(client(server, tmp_path))
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: of.header(10), range(32))) == {"Bearer t0ken-1"}
    assert len(server.asked) == 1


ANSWERS: dict[str, tuple[tuple[int, bytes], type[RadstreamError], str]] = {
    "the secret is wrong": ((401, b'{"error": "invalid_client"}'), AccessRefused, "invalid_client"),
    "the scope is wrong": ((400, b'{"error": "invalid_scope"}'), AccessRefused, "invalid_scope"),
    "a word of its own": ((400, b'{"error": "s3cret/of-the+client is wrong"}'), AccessRefused, "no word of RFC 6749"),
    "refused without JSON": ((403, b"<html>"), AccessRefused, "HTTP 403"),
    "down": ((500, b"<html>"), FhirServerUnavailable, "HTTP 500"),
    "not found": ((404, b"<html>"), FhirServerUnavailable, "HTTP 404"),
    "a log-in page": ((200, b"<html>"), FhirServerUnavailable, "no token"),
    "elsewhere": ((302, b""), FhirServerUnavailable, "no token"),
    "no token": ((200, b"{}"), FhirServerUnavailable, "no bearer token"),
    "a token that fits in no header": ((200, token("two\r\nlines")), FhirServerUnavailable, "no bearer token"),
    "a token of another kind": ((200, token("t0ken", token_type="mac")), FhirServerUnavailable, "no bearer token"),
    "an end that is no number": ((200, token("t0ken", "soon")), FhirServerUnavailable, "no token"),
    "too large": ((200, token("t0ken", scope="x" * 100_000)), FhirServerUnavailable, "no token"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_token_endpoint_may_say(server: TokenServer, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    server.answer, expected, words = ANSWERS[name]
    of = authorization(client(server, tmp_path))
    with caplog.at_level(logging.DEBUG), pytest.raises(RadstreamError, match=words) as caught:
        of.header(5)
    assert type(caught.value) is expected
    told = caplog.text + "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert "t0ken" not in told
    server.answer = None
    assert (of.header(5) or "").startswith("Bearer t0ken-"), "well again"


def _hang(handler: Handler) -> None:
    handler.release.wait(10)


def _drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.release.wait(0.02):
        handler.wfile.write(b" ")


@pytest.mark.parametrize("reply", [_hang, _drip])
def test_a_token_endpoint_that_never_ends_its_answer_is_left(tmp_path: Path, reply: Callable[[Handler], None]) -> None:
    with http_peer(reply) as url:
        of = authorization(client(TokenServer(url), tmp_path))
        with pytest.raises(FhirServerUnavailable):
            of.header(0.3)


def test_nobody_listens(tmp_path: Path) -> None:
    of = authorization(client(TokenServer("http://127.0.0.1:9"), tmp_path))
    with pytest.raises(FhirServerUnavailable):
        of.header(0.3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token_url": "http://h/token"}, "together"),
        ({"client_id": "radstream"}, "together"),
        ({"token_url": "http://h/token", "client_id": "radstream", "client_secret_file": Path("/nowhere")}, "/nowhere"),
        ({"token_file": Path("/nowhere")}, "/nowhere"),
        ({"tls_certificate": Path("/nowhere")}, "together"),
        ({"tls_ca": Path("/nowhere")}, "/nowhere"),
    ],
)
def test_half_an_access_or_a_file_that_cannot_be_used_ends_the_start(given: dict[str, Path], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said) as caught:
        authorization(HttpAccess(**given))  # type: ignore[arg-type]
    assert caught.value.step == "fhir"


def test_a_token_and_credentials_are_not_given_together(server: TokenServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken")
    access = client(server, tmp_path)
    both = HttpAccess(tmp_path / "token", access.token_url, access.client_id, access.client_secret_file)
    with pytest.raises(SettingsInvalid, match="not both"):
        authorization(both)


def test_no_secret_in_any_repr(server: TokenServer, tmp_path: Path) -> None:
    access = client(server, tmp_path)
    of = authorization(access)
    of.header(5)
    told = repr(access) + repr(of)
    assert SECRET not in told
    assert "t0ken" not in told
