"""Who gets into a listener, over real sockets and on both event loops: peers, limits, time-outs."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

import pytest
import uvloop

from connectors.door import Door
from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from streams.clock import SystemClock
from tests.unit.mllp_door import MESSAGE, Kept, exchange, is_closed, listening

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy:DeprecationWarning")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> Any:
    return request.param()


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
    async with listening(Door(), kept, Limits(frame_s=2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        begun = asyncio.get_running_loop().time()
        writer.write(frame(MESSAGE) + held[:5])
        assert b"MSA|AA|C1" in await reader.readuntil(b"\x1c\r")
        for byte in held[5:]:  # drop by drop is not fast enough either
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        assert await is_closed(reader)
        assert asyncio.get_running_loop().time() - begun > 1.9
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
    async with listening(Door(), limits=Limits(idle_s=2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        begun = asyncio.get_running_loop().time()
        for _ in range(5):
            writer.write(frame(MESSAGE))
            await reader.readuntil(b"\x1c\r")
            await asyncio.sleep(0.1)
        assert await is_closed(reader)
        assert asyncio.get_running_loop().time() - begun > 2.4, "it was not idle before"
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
