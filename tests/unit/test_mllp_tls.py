"""TLS of a listener, over real sockets and on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvloop

from connectors.door import Door
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from connectors.tls import CertificateFiles, ServerTls, client_context
from schemas.errors import SettingsInvalid
from streams.clock import SystemClock
from tests.unit.certificates import Authority, Pair
from tests.unit.mllp_door import MESSAGE, Kept, exchange, is_closed, listening

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy:DeprecationWarning")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def hospital(folder: Path) -> Authority:
    return Authority(folder, "hospital")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def listener(hospital: Authority) -> Pair:
    return hospital.sign("listener")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
async def test_tls(hospital: Authority, stranger: Authority, listener: Pair) -> None:
    kept = Kept()
    tls = ServerTls(CertificateFiles(listener.certificate, listener.key))
    async with listening(Door(tls=tls), kept) as server:
        assert b"MSA|AA|C1" in await exchange(server, client_context(hospital.certificate))
        with pytest.raises(ssl.SSLCertVerificationError):
            await exchange(server, client_context(stranger.certificate))
        old = client_context(hospital.certificate)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await exchange(server, old)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(MESSAGE))  # in the clear
        while await asyncio.wait_for(reader.read(100), 10):
            pass
        writer.close()
        assert b"MSA|AA|C1" in await exchange(server, client_context(hospital.certificate)), "the others did no harm"
    assert kept == [MESSAGE, MESSAGE]
    assert server.door.refused
    assert all(why.startswith("TLS handshake failed") for why in server.door.refused)


async def test_what_comes_with_the_end_of_the_handshake_is_not_lost(hospital: Authority, listener: Pair) -> None:
    """Pipelined, and then closed at once: all of it is stored."""
    kept = Kept()
    tls = ServerTls(CertificateFiles(listener.certificate, listener.key))
    async with listening(Door(tls=tls), kept) as server:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context(hospital.certificate))
            writer.write(frame(MESSAGE) * 50)
            writer.close()
        async with asyncio.timeout(20):
            while len(kept) < 1000:
                await asyncio.sleep(0.01)  # nobody answers a peer that has gone
    assert kept == [MESSAGE] * 1000


async def test_mutual_tls(hospital: Authority, stranger: Authority, listener: Pair) -> None:
    tls = ServerTls(CertificateFiles(listener.certificate, listener.key, hospital.certificate))
    ris, guest = hospital.sign("ris"), stranger.sign("guest")
    async with listening(Door(tls=tls)) as server:
        assert b"MSA|AA" in await exchange(server, client_context(hospital.certificate, ris.certificate, ris.key))
        for other in (
            client_context(hospital.certificate),
            client_context(hospital.certificate, guest.certificate, guest.key),
        ):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await exchange(server, other)


async def test_a_peer_that_never_shakes_hands_is_counted_and_does_not_hinder_the_end(listener: Pair) -> None:
    tls = ServerTls(CertificateFiles(listener.certificate, listener.key))
    async with listening(Door(connections=1, tls=tls)) as server:
        first, first_writer = await asyncio.open_connection("127.0.0.1", server.port)
        second, second_writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await is_closed(second)
        await asyncio.wait_for(server.stop(), 5)
        assert await is_closed(first)
        first_writer.close()
        second_writer.close()


async def test_certificates_are_renewed_without_a_restart(
    hospital: Authority, stranger: Authority, listener: Pair, tmp_path: Path
) -> None:
    files = CertificateFiles(tmp_path / "hl7.pem", tmp_path / "hl7.key", tmp_path / "ca.pem")
    alarms: list[str] = []

    def install(pair: Pair, authority: Authority) -> None:
        files.certificate.write_bytes(pair.certificate.read_bytes())
        files.key.write_bytes(pair.key.read_bytes())
        assert files.client_ca is not None
        files.client_ca.write_bytes(authority.certificate.read_bytes())

    install(listener, hospital)
    old_client, new_client = hospital.sign("client"), stranger.sign("client")
    old = client_context(hospital.certificate, old_client.certificate, old_client.key)
    new = client_context(stranger.certificate, new_client.certificate, new_client.key)
    async with listening(Door(tls=ServerTls(files, alarms.append))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=old)

        files.certificate.write_text("a certificate that is being written")
        assert b"MSA|AA" in await exchange(server, old), "the old one stays in use"
        assert [alarm.startswith(str(files.certificate)) for alarm in alarms] == [True]
        await exchange(server, old)
        assert len(alarms) == 1, "told once"

        install(stranger.sign("listener"), stranger)
        assert b"MSA|AA" in await exchange(server, new)
        assert alarms[1:] == [""]
        with pytest.raises(ssl.SSLError):
            await exchange(server, old)
        writer.write(frame(MESSAGE))
        assert b"MSA|AA" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10), "a connection that stands goes on"
        writer.close()


def test_files_that_cannot_be_used_are_named(hospital: Authority, listener: Pair, tmp_path: Path) -> None:
    other = hospital.sign("other")
    locked = tmp_path / "locked.key"
    locked.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    for files, named in (
        (CertificateFiles(tmp_path / "absent.pem", listener.key), "absent.pem"),
        (CertificateFiles(listener.certificate, other.key), "KEY_VALUES_MISMATCH"),
        (CertificateFiles(listener.certificate, locked), "locked.key"),
        (CertificateFiles(listener.certificate, listener.key, tmp_path / "absent-ca.pem"), "absent-ca.pem"),
        (CertificateFiles(listener.certificate, listener.key, listener.key), "holds no certificates"),
    ):
        with pytest.raises(SettingsInvalid, match=named):
            ServerTls(files)


def test_tls_goes_beyond_loopback(listener: Pair) -> None:
    tls = ServerTls(CertificateFiles(listener.certificate, listener.key))
    MllpServer(Kept().store, SystemClock(), host="0.0.0.0", door=Door(tls=tls))
    with pytest.raises(SettingsInvalid):
        MllpServer(Kept().store, SystemClock(), host="0.0.0.0", door=Door())
