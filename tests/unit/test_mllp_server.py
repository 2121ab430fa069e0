"""The listener over real sockets: what is stored, and what is answered when."""

from __future__ import annotations

import asyncio

import pytest

from connectors.mllp.client import MllpClient
from connectors.mllp.connection import Limits
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from schemas.errors import BrokerUnavailable, SettingsInvalid
from tests.unit.mllp_listener import FixedClock, Store, listening, message


async def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    store = Store()
    async with listening(store, opened=False) as (_, peer):
        peer.writer.write(frame(message(1)))
        await store.called.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await peer.reader.read(1)
        store.open.set()
        assert await peer.codes(1) == [("AA", "C1")]
        [received] = store.kept
        assert (received.content, received.received_at) == (message(1), FixedClock().now())
        assert received.peer.startswith("127.0.0.1:")


async def test_pipelined_messages_are_stored_and_answered_in_order() -> None:
    store = Store()
    async with listening(store, opened=False) as (_, peer):
        for number in range(300):
            peer.writer.write(frame(message(number)))
            if number == 5:
                await store.called.wait()
        store.open.set()
        assert await peer.codes(300) == [("AA", f"C{number}") for number in range(300)]
    assert store.contents == [message(number) for number in range(300)]
    assert len(store.calls) < 300, "what waits is stored in one go"


async def test_bytes_one_by_one() -> None:
    store = Store()
    async with listening(store) as (_, peer):
        for byte in frame(message(1)) + frame(message(2)):
            peer.writer.write(bytes([byte]))
            await peer.writer.drain()
        assert await peer.codes(2) == [("AA", "C1"), ("AA", "C2")]


@pytest.mark.parametrize("failure", [BrokerUnavailable("append", "x", "away"), ValueError("a bug")])
async def test_ae_while_storing_fails_and_aa_afterwards(failure: Exception) -> None:
    store = Store(failure=failure)
    async with listening(store) as (_, peer):
        peer.writer.write(frame(message(1)))
        assert [(a.code, a.message_control_id, a.condition) for a in await peer.answers(1)] == [("AE", "C1", "207")]
        store.failure = None
        peer.writer.write(frame(message(1)))
        assert await peer.codes(1) == [("AA", "C1")]


async def test_ae_when_storing_takes_too_long() -> None:
    store = Store()
    async with listening(store, opened=False, limits=Limits(storing_s=0.2)) as (_, peer):
        begun = asyncio.get_running_loop().time()
        peer.writer.write(frame(message(1)))
        await store.called.wait()
        peer.writer.write(frame(message(2)))
        assert await peer.codes(2) == [("AE", "C1"), ("AE", "C2")]
        assert asyncio.get_running_loop().time() - begun < 5
        store.open.set()
        peer.writer.write(frame(message(2)))
        assert await peer.codes(1) == [("AA", "C2")]


async def test_garbage_is_refused_once_stored_and_the_next_message_goes_on() -> None:
    store = Store()
    async with listening(store) as (_, peer):
        peer.writer.write(b"stray" + frame(b"\x00\xffgarbage") + b"\x0b" + message(1) + frame(message(2)))
        assert await peer.codes(2) == [("AR", ""), ("AA", "C2")]
    assert [(one.content, one.refused) for one in store.kept] == [
        (b"stray", True),
        (b"\x00\xffgarbage", True),
        (message(1), True),
        (message(2), False),
    ]


async def test_garbage_that_cannot_be_stored_is_not_refused_for_good() -> None:
    store = Store(failure=BrokerUnavailable("append", "x", "away"))
    async with listening(store) as (_, peer):
        peer.writer.write(frame(b"garbage"))
        assert await peer.codes(1) == [("AE", "")]


async def test_a_message_over_the_limit_is_refused_by_its_own_control_id() -> None:
    store = Store()
    async with listening(store, limits=Limits(frame=1000)) as (_, peer):
        peer.writer.write(frame(message(1, "x" * 3000)) + frame(message(2)))
        assert await peer.codes(2) == [("AR", "C1"), ("AA", "C2")]
    assert b"".join(store.contents[:-1]) == message(1, "x" * 3000)


async def test_an_end_block_whose_carriage_return_never_comes() -> None:
    store = Store()
    async with listening(store) as (_, peer):
        peer.writer.write(frame(message(1))[:-1])
        assert await peer.codes(1) == [("AA", "C1")]
        peer.writer.write(b"\r" + frame(message(2)))
        assert await peer.codes(1) == [("AA", "C2")]
    assert store.contents == [message(1), message(2)]


async def test_a_peer_that_writes_no_more_gets_its_answers() -> None:
    store = Store()
    async with listening(store, opened=False) as (_, peer):
        peer.writer.write(frame(message(1)) + b"\x0bMSH|unfinished")
        peer.writer.write_eof()
        await store.called.wait()
        store.open.set()
        assert await peer.codes(1) == [("AA", "C1")]
        assert await peer.reader.read() == b"", "then the connection is closed"
    assert store.contents == [message(1), b"MSH|unfinished"]


async def test_what_was_received_whole_is_stored_though_the_peer_is_gone() -> None:
    store = Store()
    async with listening(store, opened=False) as (server, peer):
        peer.writer.write(frame(message(1)))
        await store.called.wait()
        peer.writer.transport.abort()
        store.open.set()
        await server.stop()
    assert store.contents == [message(1)]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "ris.example.org"])
def test_beyond_loopback_is_refused_unless_said_in_as_many_words(host: str) -> None:
    with pytest.raises(SettingsInvalid):
        MllpServer(Store(), FixedClock(), host=host)
    with pytest.raises(SettingsInvalid):
        MllpClient(host, 2575)
    MllpServer(Store(), FixedClock(), host=host, allow_plaintext_beyond_loopback=True)
    MllpClient(host, 2575, allow_plaintext_beyond_loopback=True)


async def test_an_address_that_is_taken() -> None:
    async with listening(Store()) as (server, _):
        with pytest.raises(SettingsInvalid, match="cannot be bound"):
            await MllpServer(Store(), FixedClock(), port=server.port).start()
