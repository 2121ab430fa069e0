"""The listener over real sockets, with a store that the test holds in its hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from connectors.mllp.client import MllpClient, MllpReceiverUnavailable
from connectors.mllp.connection import Limits
from connectors.mllp.dialogue import Received
from connectors.mllp.framing import Frame, FrameDecoder, frame
from connectors.mllp.server import MllpServer
from schemas.errors import BrokerUnavailable, MalformedMessage, SettingsInvalid
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Store:
    """Keeps what it is given while `open`; fails while `away`."""

    kept: list[Received] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, batch: Sequence[Received]) -> None:
        self.calls.append(len(batch))
        self.called.set()
        await self.open.wait()
        if self.failure:
            raise self.failure
        self.kept += batch

    @property
    def contents(self) -> list[bytes]:
        return [one.content for one in self.kept]


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._decoder = FrameDecoder()
        self._ready: list[Ack] = []

    async def answers(self, count: int) -> list[Ack]:
        async with asyncio.timeout(10):
            while len(self._ready) < count:
                data = await self.reader.read(65536)
                assert data, "connection closed"
                for item in self._decoder.feed(data):
                    assert isinstance(item, Frame)
                    self._ready.append(read_acknowledgement(item.content))
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken

    async def codes(self, count: int) -> list[tuple[str, str]]:
        return [(ack.code, ack.message_control_id) for ack in await self.answers(count)]


def message(number: int, text: str = "x") -> bytes:
    return f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|C{number}|P|2.5.1\rNTE|1||{text}\r".encode()


@asynccontextmanager
async def listening(store: Store, *, opened: bool = True, limits: Limits | None = None) -> AsyncIterator[tuple[MllpServer, Peer]]:
    if opened:
        store.open.set()
    server = MllpServer(store, FixedClock(), port=0, limits=limits)
    await server.start()
    peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield server, peer
    finally:
        peer.writer.close()
        store.open.set()
        await server.stop()


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
        assert asyncio.get_running_loop().time() - begun < 1
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


# ------------------------------------------------------------------------------------------------------------ client


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[int]:
    """A receiver that sends these bytes when it has got anything, then closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        for answer in answers:
            writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def ack(code: str, control_id: str) -> bytes:
    return frame(f"MSH|^~\\&|||||||ACK|X|P|2.5\rMSA|{code}|{control_id}\r".encode())


async def test_the_client_sends_and_reads_its_answer() -> None:
    store = Store()
    async with listening(store) as (server, _), MllpClient("127.0.0.1", server.port) as client:
        answers = await asyncio.gather(*(client.send(message(number)) for number in range(20)))
    assert [(answer.code, answer.message_control_id) for answer in answers] == [("AA", f"C{n}") for n in range(20)]
    assert store.contents == [message(number) for number in range(20)]


async def test_the_answer_to_another_message_is_passed_over() -> None:
    async with answering(ack("AA", "C9"), frame(b"noise"), ack("AE", "C1")) as port, MllpClient("127.0.0.1", port) as client:
        assert (await client.send(message(1))).code == "AE"


@pytest.mark.parametrize("answers", [(), (ack("AA", "C9"),)])
async def test_a_connection_that_ends_without_the_answer(answers: tuple[bytes, ...]) -> None:
    async with answering(*answers) as port, MllpClient("127.0.0.1", port) as client:
        with pytest.raises(MllpReceiverUnavailable):
            await client.send(message(1))


async def test_a_receiver_that_hangs_or_is_not_there() -> None:
    store = Store()
    async with listening(store, opened=False) as (server, _):
        async with MllpClient("127.0.0.1", server.port, timeout_s=0.2) as client:
            with pytest.raises(MllpReceiverUnavailable):
                await client.send(message(1))
            store.open.set()
            assert (await client.send(message(2))).message_control_id == "C2", "the late answer to C1 is not taken for it"
        port = server.port
    async with MllpClient("127.0.0.1", port) as client:
        with pytest.raises(MllpReceiverUnavailable):
            await client.send(message(1))


async def test_a_message_without_control_id_is_not_sent() -> None:
    async with MllpClient("127.0.0.1", 1) as client:
        with pytest.raises(MalformedMessage):
            await client.send(b"MSH|^~\\&|RIS|H|||20260101||ORM^O01||P|2.5.1\r")
