"""The listener's memory, from outside: it does not grow with what went through, nor with what a slow Kafka makes wait."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from connectors.kafka_admin import topic_sizes
from connectors.mllp.framing import frame
from connectors.mllp.gathering import HELD
from streams.services import LocalServices
from streams.topics import HL7_RAW
from tests.service.away import paused
from tests.service.listener_process import ListenerProcess

pytestmark = [pytest.mark.service, pytest.mark.timeout(3600)]

#: unanswered on one connection, where the sender keeps to anything
WINDOW = 250
_MSA = re.compile(rb"\rMSA\|(\w\w)\|")


def message(number: int, size: int = 0) -> bytes:
    text = (
        f"MSH|^~\\&|RIS{number % 20}|H|||20260101120000||ORM^O01^ORM_O01|M{number:08d}|P|2.5.1\rPID|1||P{number}^^^HOSPITAL^MR\r"
        f"ORC|NW|PL{number}\rOBR|1|PL{number}||36643-5^XR chest^LN\r"
    )
    return (text + "NTE|1||" + "x" * (size - len(text)) + "\r" if size else text).encode()


class Peer:
    """One connection. At most `window` messages are unanswered; None: it writes whatever is taken from it."""

    def __init__(self, window: int | None) -> None:
        self.codes: Counter[bytes] = Counter()
        self._window = window
        self._sent = 0
        self._news = asyncio.Condition()

    async def converse(self, port: int, numbers: Sequence[int], size: int = 0) -> None:
        """Until every message has its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        reading = asyncio.create_task(self._read(reader, self._sent + len(numbers)))
        for begin in range(0, len(numbers), 50):
            some = numbers[begin : begin + 50]
            async with self._news:
                await self._news.wait_for(lambda: self._window is None or self._sent - self.codes.total() < self._window)
            self._sent += len(some)
            writer.write(b"".join(frame(message(number, size)) for number in some))
            await writer.drain()
        await reading
        writer.close()

    async def _read(self, reader: asyncio.StreamReader, count: int) -> None:
        waiting = b""
        while self.codes.total() < count:
            data = await reader.read(65536)
            assert data, "the listener closed the connection"
            answers, mark, waiting = (waiting + data).rpartition(b"\x1c\r")
            self.codes.update(_MSA.findall(answers + mark))
            async with self._news:
                self._news.notify_all()


def stored(broker: LocalServices) -> int:
    return topic_sizes(broker.kafka_bootstrap, [HL7_RAW.name])[HL7_RAW.name].records


async def through(listening: ListenerProcess, first: int, behind: int, connections: int = 8) -> float:
    """Sends the messages of these numbers and returns the memory, in MiB, when all are answered AA."""
    peers = [Peer(WINDOW) for _ in range(connections)]
    await asyncio.gather(*(peer.converse(listening.port, range(first + n, behind, connections)) for n, peer in enumerate(peers)))
    assert sum((peer.codes for peer in peers), Counter()) == {b"AA": behind - first}
    return listening.resident_mib()


async def flat(listening: ListenerProcess, broker: LocalServices, early: int, whole: int) -> None:
    before = await asyncio.to_thread(stored, broker)
    begun = await through(listening, 0, early)
    ended = await through(listening, early, whole)
    assert await asyncio.to_thread(stored, broker) - before == whole
    assert ended <= 1.1 * begun, f"{begun:.1f} MiB after {early}, {ended:.1f} MiB after {whole}"


async def test_60_000_messages_cost_no_more_than_20_000(listening: ListenerProcess, broker: LocalServices) -> None:
    await flat(listening, broker, 20_000, 60_000)


@pytest.mark.long
async def test_1_000_000_messages_cost_no_more_than_100_000(listening: ListenerProcess, broker: LocalServices) -> None:
    await flat(listening, broker, 100_000, 1_000_000)


async def test_kafka_stands_still(listening: ListenerProcess, broker: LocalServices) -> None:
    """Then reading stops: what more is sent stays in the sockets, and memory within the limits, the second time as the first.
    Everything is answered in the end."""
    connections, each, size = 32, 2_000, 2_000
    assert connections * each * size > 1.5 * HELD, "else nothing would have to stop"
    warm = await through(listening, 0, 20_000)
    standing = []
    for first in (0, connections * each):
        peers = [Peer(None) for _ in range(connections)]
        with paused(broker, "kafka"):
            shares = [range(first + n * each, first + (n + 1) * each) for n in range(connections)]
            sending = [
                asyncio.create_task(peer.converse(listening.port, share, size)) for peer, share in zip(peers, shares, strict=True)
            ]
            await reading_has_stopped(listening)
            standing.append(listening.resident_mib())
        await asyncio.gather(*sending)
        codes = sum((peer.codes for peer in peers), Counter())
        assert set(codes) <= {b"AA", b"AE"} and codes.total() == connections * each
    assert standing[0] - warm < 1.5 * HELD / 2**20, "the limit over all connections, and what the sockets handed over at once"
    assert standing[1] < 1.1 * standing[0]


async def reading_has_stopped(listening: ListenerProcess) -> None:
    """Bytes wait in the sockets, and stay there."""
    unread = [0]
    async with asyncio.timeout(60):
        while unread[-1] == 0 or len(set(unread[-3:])) > 1:
            await asyncio.sleep(0.2)  # the kernel is asked: there is no event to await
            unread.append(listening.unread_bytes())
