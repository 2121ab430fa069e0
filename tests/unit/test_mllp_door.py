"""Who gets into a listener, over real sockets and on both event loops: peers, limits, time-outs, TLS."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.door import Door
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from connectors.mllp.tls import CertificateFiles, ServerTls, client_context
from schemas.errors import SettingsInvalid
from streams.clock import SystemClock
from tests.unit.certificates import Authority, Pair

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


MESSAGE = b"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C1|P|2.5.1\r"


class Kept(list[bytes]):
    async def store(self, batch: Sequence[Received]) -> None:
        self.extend(one.content for one in batch)


@asynccontextmanager
async def listening(door: Door, kept: Kept | None = None, limits: Limits | None = None) -> AsyncIterator[MllpServer]:
    server = MllpServer((Kept() if kept is None else kept).store, SystemClock(), port=0, limits=limits, door=door)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def exchange(server: MllpServer, tls: ssl.SSLContext | None = None) -> bytes:
    """One message, its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
    try:
        writer.write(frame(MESSAGE))
        return await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
    finally:
        writer.close()


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes without a word."""
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True


# ------------------------------------------------------------------------------------------------------- peers, limits


async def test_only_allowed_peers_get_in() -> None:
    kept = Kept()
    async with listening(Door([ip_network("10.0.0.0/8"), ip_network("fd00::/8")]), kept) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(MESSAGE))
        assert await is_closed(reader)
        writer.close()
        assert server.door.refused == {"not among the allowed peers": 1}
    assert kept == []
    async with listening(Door([ip_network("10.0.0.0/8"), ip_network("127.0.0.0/24")]), kept) as server:
        assert b"MSA|AA|C1" in await exchange(server)
    assert kept == [MESSAGE]


@pytest.mark.parametrize(
    ("host", "gets_in"), [("::ffff:10.1.2.3", True), ("fd00::1", True), ("11.0.0.1", False), ("fe80::1", False)]
)
def test_addresses(host: str, gets_in: bool) -> None:
    door = Door([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
    assert (door.objection(host, inside=0) == "") is gets_in


async def test_so_many_connections_and_no_more() -> None:
    async with listening(Door(connections=2)) as server:
        inside = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for _, writer in inside:
            writer.write(frame(MESSAGE))
        for reader, _ in inside:
            await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await is_closed(reader)
        writer.close()
        assert server.door.refused == {"there are 2 connections already": 1}
        inside[0][1].close()
        async with asyncio.timeout(10):
            while len(server.connections) == 2:
                await asyncio.sleep(0.01)  # the server hears of it when it hears of it
        assert b"MSA|AA|C1" in await exchange(server)
        inside[1][1].close()


async def test_when_descriptors_are_used_up_the_listener_waits_for_some() -> None:
    async with listening(Door()) as server:
        peer = socket.socket()
        peer.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (peer.fileno() + 20, hard))
        taken = []
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.dup(peer.fileno()))
            peer.connect_ex(("127.0.0.1", server.port))  # the kernel accepts, we cannot
            await asyncio.sleep(0.1)
            assert not server.connections
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        reader, writer = await asyncio.open_connection(sock=peer)
        writer.write(frame(MESSAGE))
        assert b"MSA|AA" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
        [connection] = server.connections
        own = connection._transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), "a peer without power is found out"
        writer.close()


async def test_a_listener_that_hears_nobody_any_more_does_not_look_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*arguments: object) -> None:
        raise ZeroDivisionError

    async with listening(Door()) as server:
        monkeypatch.setattr(server.door, "open", bug)
        running = asyncio.create_task(server.run(asyncio.Event()))
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(running, 10)
        writer.close()


# ------------------------------------------------------------------------------------------------------------ time-outs


@pytest.mark.parametrize("held", [b"\x0bMSH|half", b"MSH|without a start block"])
async def test_what_does_not_end_in_time_is_kept_and_the_connection_closed(held: bytes) -> None:
    kept = Kept()
    async with listening(Door(), kept, Limits(frame_s=0.3)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(MESSAGE) + held[:5])
        assert b"MSA|AA|C1" in await reader.readuntil(b"\x1c\r")
        begun = asyncio.get_running_loop().time()
        for byte in held[5:]:  # drop by drop is not fast enough either
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert await is_closed(reader)
        assert asyncio.get_running_loop().time() - begun > 0.15
        writer.close()
    assert kept == [MESSAGE, held.removeprefix(b"\x0b")]


async def test_a_persistent_connection_is_idle_as_long_as_it_likes_and_blanks_are_no_frame() -> None:
    kept = Kept()
    async with listening(Door(), kept, Limits(frame_s=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(MESSAGE) + b"\r\n")
        await reader.readuntil(b"\x1c\r")
        await asyncio.sleep(0.35)  # three time-outs of a frame: it is time itself that is tested
        writer.write(frame(MESSAGE))
        assert b"MSA|AA|C1" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
        writer.close()
    assert kept == [MESSAGE, MESSAGE]


async def test_an_idle_connection_is_closed_where_a_setting_says_so() -> None:
    async with listening(Door(), limits=Limits(idle_s=0.3)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        begun = asyncio.get_running_loop().time()
        for _ in range(5):
            writer.write(frame(MESSAGE))
            await reader.readuntil(b"\x1c\r")
            await asyncio.sleep(0.1)
        assert await is_closed(reader)
        assert asyncio.get_running_loop().time() - begun > 0.6, "it was not idle before"
        writer.close()


async def test_a_message_that_waits_for_the_store_is_not_idle() -> None:
    opened = asyncio.Event()

    async def store(batch: Sequence[Received]) -> None:
        await opened.wait()

    server = MllpServer(store, SystemClock(), port=0, limits=Limits(idle_s=0.1, frame_s=0.1, waiting=2))
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(frame(MESSAGE) * 2)
    writer.write(b"\x0bMSH|half")  # is not read on while so much waits: not the peer's fault
    await asyncio.sleep(0.3)
    opened.set()
    for _ in range(2):
        assert b"MSA|AA|C1" in await asyncio.wait_for(reader.readuntil(b"\x1c\r"), 10)
    writer.close()
    await server.stop()


# ------------------------------------------------------------------------------------------------------------------ TLS


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
