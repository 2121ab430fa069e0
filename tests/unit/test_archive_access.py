"""Bearer tokens, passwords and certificates of an archive: rotated while it is asked, never told."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from connectors.archive_access import ArchiveAccess, Credentials
from connectors.pacs.orthanc import OrthancChanges
from schemas.errors import ArchiveUnavailable, SettingsInvalid
from streams.settings import Settings
from streams.wiring.clients import archive_access, archive_for
from tests.unit.archive_peer import IMPATIENT_S, REFERENCE, STUDY, archive_at, good
from tests.unit.certificates import Pair
from tests.unit.http_peer import Handler, http_peer
from tests.unit.tls_client import TlsClientContract
from tests.unit.token_server import client, token_server


def _asks_for(wanted: Callable[[], str]) -> Callable[[Handler], None]:
    def reply(handler: Handler) -> None:
        if handler.headers["Authorization"] == wanted():
            good(handler)
        else:
            handler.answer(401, "text/plain", b"", **{"WWW-Authenticate": "Bearer"})

    return reply


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("first-t0ken\n")
    return file


async def test_a_rotated_token_is_used_without_a_restart(token: Path) -> None:
    valid = "Bearer first-t0ken"
    with http_peer(_asks_for(lambda: valid)) as url:
        async with archive_at(url, pool_size=1, access=ArchiveAccess(token_file=token)) as archive:
            await archive.instance(STUDY, REFERENCE)
            token.write_text("second-t0ken")
            valid = "Bearer second-t0ken"
            await archive.instance(STUDY, REFERENCE)


async def test_a_token_that_is_rotated_while_the_archive_is_asked(token: Path) -> None:
    """The archive refuses the old one, and the file holds the new one by then."""

    def reply(handler: Handler) -> None:
        token.write_text("second-t0ken")
        _asks_for(lambda: "Bearer second-t0ken")(handler)

    with http_peer(reply) as url:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            await archive.instance(STUDY, REFERENCE)


async def test_a_token_that_is_rotated_while_the_archive_is_asked_whether_it_is_well(token: Path) -> None:
    """The study was refused with the old one, the archive answers with the new one: the study is not refused."""

    def reply(handler: Handler) -> None:
        if "2.25.0" in handler.path:
            token.write_text("second-t0ken")
        _asks_for(lambda: "Bearer second-t0ken")(handler)

    with http_peer(reply) as url:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            await archive.instance(STUDY, REFERENCE)


@pytest.mark.parametrize("now", [None, "", "two words", "line\nbreak", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
async def test_while_the_file_holds_no_token_the_last_one_is_used(token: Path, now: str | None) -> None:
    with http_peer(_asks_for(lambda: "Bearer first-t0ken")) as url:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            if now is None:
                token.unlink()
            else:
                token.write_text(now)
            await archive.instance(STUDY, REFERENCE)


async def test_an_expired_token_is_shown_once_for_the_study_and_once_for_the_archive(token: Path) -> None:
    seen: list[str | None] = []

    def reply(handler: Handler) -> None:
        seen.append(handler.headers["Authorization"])
        handler.answer(401, "text/plain", b"first-t0ken has expired")

    with http_peer(reply) as url:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            with pytest.raises(ArchiveUnavailable, match="renew token_file") as caught:
                await archive.instance(STUDY, REFERENCE)
    assert seen == ["Bearer first-t0ken"] * 2
    assert "t0ken has" not in str(caught.value)


async def test_no_token_where_one_is_asked_for() -> None:
    with http_peer(_asks_for(lambda: "Bearer first-t0ken")) as url:
        async with archive_at(url) as archive:
            with pytest.raises(ArchiveUnavailable, match="renew token_file"):
                await archive.instance(STUDY, REFERENCE)


async def test_user_and_password_at_both_doors_of_orthanc(tmp_path: Path) -> None:
    """RFC 7617 2.1: `test` and `123£` in UTF-8 are dGVzdDoxMjPCow==. Through the wiring."""
    (tmp_path / "password").write_text("123£\n", encoding="utf-8")
    seen: list[tuple[str, str | None]] = []

    def reply(handler: Handler) -> None:
        seen.append((handler.path.partition("?")[0], handler.headers["Authorization"]))
        if handler.path.startswith("/changes"):
            handler.answer(200, "application/json", b'{"Changes": [], "Last": 0, "Done": true}')
        else:
            handler.answer(200, "application/dicom+json", b"[]")

    with http_peer(reply) as url:
        access = {"user": "test", "password_file": tmp_path / "password"}
        settings = Settings.model_validate({"archive": {"dicomweb_url": f"{url}/dicom-web", "orthanc_url": url, **access}})
        with closing(archive_for(settings)) as archive:
            await archive.answers()
        changes = OrthancChanges(url, timeout_s=5, access=archive_access(settings))
        with closing(changes):
            await changes.noticed_since(None)
    assert seen == [("/dicom-web/studies", "Basic dGVzdDoxMjPCow=="), ("/changes", "Basic dGVzdDoxMjPCow==")]


@pytest.mark.parametrize("content", [None, b"", b"t0ken with spaces", b"\xff"])
def test_a_token_file_that_cannot_be_used_ends_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(SettingsInvalid, match=str(tmp_path / "token")) as caught:
        archive_for(Settings.model_validate({"archive": {"token_file": tmp_path / "token"}}))
    assert "t0ken" not in caught.value.reason.replace(str(tmp_path), "")
    assert str(tmp_path / "token") in caught.value.reason, "doctor shows the reason alone"


@pytest.mark.parametrize("setting", ["tls_ca", "tls_certificate"])
def test_a_certificate_file_that_cannot_be_used_ends_the_start(tmp_path: Path, setting: str) -> None:
    (tmp_path / "file").write_text("no PEM")
    files = {setting: tmp_path / "file"} | ({"tls_key": tmp_path / "file"} if setting == "tls_certificate" else {})
    with pytest.raises(SettingsInvalid) as caught:
        archive_for(Settings.model_validate({"archive": files}))
    assert str(tmp_path / "file") in caught.value.reason


@pytest.mark.parametrize(
    "half",
    [
        {"user": "radstream"},
        {"password_file": "p"},
        {"user": "with:colon", "password_file": "p"},
        {"token_file": "t", "user": "radstream", "password_file": "p"},
        {"tls_certificate": "c"},
        {"tls_key": "k"},
    ],
)
def test_half_an_access_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="together|not both|pattern"):
        Settings.model_validate({"archive": half})


def test_no_secret_in_any_repr(token: Path) -> None:
    access = ArchiveAccess(token_file=token)
    credentials = Credentials(access)
    assert credentials.header(1) == b"Bearer first-t0ken"
    settings = Settings.model_validate({"archive": {"token_file": token}})
    with closing(archive_for(settings)) as archive:
        told = "".join(map(repr, (access, credentials, settings, archive, vars(archive)))) + settings.model_dump_json()
    assert "first-t0ken" not in told


async def test_no_secret_in_any_log(token: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor that of a connection that fails, of which libraries like to tell."""

    def reply(handler: Handler) -> None:
        handler.close_connection = True

    with caplog.at_level(logging.DEBUG), http_peer(reply) as url:
        async with archive_at(url, access=ArchiveAccess(token_file=token)) as archive:
            with pytest.raises(ArchiveUnavailable) as caught:
                await archive.instance(STUDY, REFERENCE)
    assert "t0ken" not in caplog.text + "".join(traceback.format_exception(caught.value))


class TestTls(TlsClientContract):
    unavailable = ArchiveUnavailable
    good = staticmethod(good)

    @staticmethod
    async def ask(url: str, ca: Path | None, shown: Pair | None = None) -> None:
        access = ArchiveAccess(tls_ca=ca)
        if shown is not None:
            access = replace(access, tls_certificate=shown.certificate, tls_key=shown.key)
        async with archive_at(url, access=access) as archive:
            await archive.instance(STUDY, REFERENCE)


async def test_a_token_of_the_token_endpoint_is_renewed_when_the_archive_refuses_it(tmp_path: Path) -> None:
    """Within the time of the exchange; then one token serves."""
    with token_server() as server:
        valid = "Bearer t0ken-2"
        with http_peer(_asks_for(lambda: valid)) as url:
            async with archive_at(url, access=ArchiveAccess(oauth2=client(server, tmp_path))) as archive:
                await archive.instance(STUDY, REFERENCE)
                await archive.instance(STUDY, REFERENCE)
        assert len(server.asked) == 2


async def test_a_token_endpoint_that_refuses_us_is_a_matter_for_a_person_and_no_studys(tmp_path: Path) -> None:
    with token_server() as server, http_peer(good) as url:
        server.answer = (401, b'{"error": "invalid_client", "error_description": "Secret"}')
        async with archive_at(url, access=ArchiveAccess(oauth2=client(server, tmp_path))) as archive:
            with structlog.testing.capture_logs() as logs:
                for _ in range(2):
                    with pytest.raises(ArchiveUnavailable, match="refuses every question"):
                        await archive.instance(STUDY, REFERENCE)
            server.answer = None
            await archive.instance(STUDY, REFERENCE)
    assert [line["event"] for line in logs] == ["the token endpoint gives no token", "nothing goes on until a person acts"]
    assert "invalid_client" in logs[0]["error"]
    assert "Secret" not in str(logs)


async def test_a_token_endpoint_that_is_down(tmp_path: Path) -> None:
    with token_server() as server, http_peer(good) as url:
        server.answer = (500, b"")
        async with archive_at(url, access=ArchiveAccess(oauth2=client(server, tmp_path))) as archive:
            with pytest.raises(ArchiveUnavailable, match="HTTP 500"):
                await archive.instance(STUDY, REFERENCE)


async def test_what_drips_for_ever_is_cut_with_a_token_of_the_token_endpoint_too(tmp_path: Path) -> None:
    """The exchange for the token lies within the other."""

    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not handler.release.wait(0.02):
            handler.wfile.write(b" ")

    with token_server() as server, http_peer(drip) as url:
        access = ArchiveAccess(oauth2=client(server, tmp_path))
        async with archive_at(url, timeout_s=IMPATIENT_S, access=access) as archive, asyncio.timeout(60):
            with pytest.raises(ArchiveUnavailable):
                await archive.instance(STUDY, REFERENCE)
