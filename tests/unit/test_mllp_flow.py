"""The listener under pressure and at its end: reading that stops, answers that still go out, a port that is free again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from connectors.mllp.connection import Limits
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from tests.unit.mllp_listener import FixedClock, Peer, Store, listening, message


async def test_reading_stops_while_too_much_waits() -> None:
    """Memory stays flat: what the listener has not taken stays in the sender's hands."""
    store = Store()
    big = frame(message(1, "x" * 100_000))
    async with listening(store, opened=False, limits=Limits(waiting=4)) as (server, peer):
        writing = asyncio.create_task(write_all(peer, big, 400))
        await store.called.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(writing)
        [connection] = server.connections
        assert connection._waiting_bytes < 2_000_000
        store.open.set()
        assert len(await peer.codes(400)) == 400
        await writing


async def test_reading_stops_on_all_connections_while_too_much_waits_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections there are; each of them keeps its own limit. All go on when there is room."""
    monkeypatch.setattr("connectors.mllp.gathering.HELD", 1_000_000)
    store = Store()
    big = frame(message(1, "x" * 100_000))
    async with listening(store, opened=False) as (server, _):
        peers = [Peer(*await asyncio.open_connection("127.0.0.1", server.port)) for _ in range(10)]
        writing = [asyncio.create_task(write_all(peer, big, 200)) for peer in peers]
        await store.called.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.gather(*map(asyncio.shield, writing))
        # each connection may have read once more than there was room for
        assert sum(connection._waiting_bytes for connection in server.connections) < 1_000_000 + 10 * 300_000
        store.open.set()
        assert {code for peer in peers for code, _ in await peer.codes(200)} == {"AA"}
        await asyncio.gather(*writing)
        for peer in peers:
            peer.writer.close()
    assert len(store.contents) == 2000


async def write_all(peer: Peer, data: bytes, times: int) -> None:
    for _ in range(times):
        peer.writer.write(data)
        await peer.writer.drain()


async def test_stopping_answers_what_is_here_and_takes_nothing_new() -> None:
    store = Store()
    async with listening(store, opened=False) as (server, peer):
        peer.writer.write(frame(message(1)) + b"\x0bMSH|half")
        await store.called.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        store.open.set()
        assert await peer.codes(1) == [("AA", "C1")]
        await stopping
        assert await peer.reader.read() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
    assert store.contents == [message(1)], "half a frame was not answered: its sender has it"


async def test_stopping_loses_no_answer_on_its_way_to_a_peer_that_still_sends() -> None:
    """Closed with bytes unread, the socket would be reset, and what the kernel had not sent dropped."""
    store = Store()
    answers = 4_000
    async with listening(store, opened=False, limits=Limits(waiting=answers)) as (server, peer):
        peer.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        writing = asyncio.create_task(write_all(peer, frame(message(1)) * 100, answers // 100))
        while sum(len(connection._waiting) for connection in server.connections) < answers:
            await asyncio.sleep(0)  # sockets are drained by the loop, turn by turn
        await writing
        stopping = asyncio.create_task(server.stop())
        while not all(connection._ending for connection in server.connections):
            await asyncio.sleep(0)
        peer.writer.write(frame(message(2)) * 1000)  # what nobody will answer
        store.open.set()
        assert await peer.codes(answers) == [("AA", "C1")] * answers
        assert await peer.reader.read() == b""
        peer.writer.close()
        await stopping
    assert store.contents == [message(1)] * answers


async def test_stopping_does_not_wait_for_ever() -> None:
    store = Store()
    async with listening(store, opened=False) as (server, peer):
        peer.writer.write(frame(message(1)))
        await store.called.wait()
        await server.stop(within_s=0.1)
        assert await peer.reader.read() == b""
    assert store.kept == []


async def test_the_port_is_free_again_at_once() -> None:
    store = Store()
    async with listening(store) as (server, peer):
        peer.writer.write(frame(message(1)))
        await peer.codes(1)
        await server.stop()
        again = MllpServer(store, FixedClock(), port=server.port)
        await again.start()
        _, writer = await asyncio.open_connection("127.0.0.1", again.port)
        assert again.port == server.port
        writer.close()
        await writer.wait_closed()
        await again.stop()
