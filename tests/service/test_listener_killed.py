"""kill -9 of the listener and of Kafka, and an orderly end, under load: what was acknowledged is stored, nobody waits long."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

import pytest

from connectors.kafka import KafkaLog
from connectors.mllp.client import MllpClient, MllpReceiverUnavailable
from connectors.mllp.framing import Frame, FrameDecoder, frame
from schemas.hl7v2.acknowledgement import read_acknowledgement
from streams.services import LocalServices
from streams.topics import HL7_RAW
from tests.service.away import away, paused
from tests.service.listener_process import ListenerProcess

pytestmark = [pytest.mark.service, pytest.mark.timeout(1800)]

RATE, CONNECTIONS = 300, 8
#: a sender gives up waiting after this, longer than any answer may take
PATIENCE_S = 30.0


def message(control_id: str) -> bytes:
    return (
        f"MSH|^~\\&|RIS|H|||20260101120000||ORM^O01^ORM_O01|{control_id}|P|2.5.1\rPID|1||P1^^^HOSPITAL^MR\r"
        f"ORC|NW|{control_id}\rOBR|1|{control_id}||36643-5^XR chest^LN\r"
    ).encode()


async def stored_ids(broker: LocalServices, prefix: str) -> Counter[str]:
    """MSH-10 of every message on the topic that begins so."""
    found = re.compile(rb"\|(%b\d+)\|P\|" % prefix.encode())
    async with KafkaLog(broker.kafka_bootstrap) as log:
        marks = [found.search(record.value) async for record in log.read(HL7_RAW.name)]
    return Counter(mark[1].decode() for mark in marks if mark)


@dataclass
class Senders:
    """RATE messages a second over CONNECTIONS connections; each is sent again, the same bytes, until its answer is AA."""

    port: int
    prefix: str
    acknowledged: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    #: seconds from each sending to its answer, whatever it was
    waits: list[float] = field(default_factory=list)
    broken: int = 0
    _due: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    issued: int = 0

    async def run(self, finished: asyncio.Event) -> None:
        """Until `finished`, then until all that is due is acknowledged."""
        senders = [asyncio.create_task(self._send()) for _ in range(CONNECTIONS)]
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not finished.is_set():
            self._due.put_nowait(f"{self.prefix}{self.issued:07d}")
            self.issued += 1
            await asyncio.sleep(max(0.0, begun + self.issued / RATE - loop.time()))  # the stated rate
        async with asyncio.timeout(120):
            await self.until(self.issued)
        for sender in senders:
            sender.cancel()
        await asyncio.wait(senders)

    async def until(self, count: int) -> None:
        """So many are acknowledged."""
        async with self._news:
            await self._news.wait_for(lambda: len(self.acknowledged) >= count)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        async with MllpClient("127.0.0.1", self.port, timeout_s=PATIENCE_S) as client:
            while True:
                control_id = await self._due.get()
                while True:
                    begun = loop.time()
                    try:
                        answer = await client.send(message(control_id))
                    except MllpReceiverUnavailable:
                        self.broken += 1
                        await asyncio.sleep(0.1)  # a sender's own time-out between two tries
                        continue
                    self.waits.append(loop.time() - begun)
                    if answer.code == "AA":
                        break
                    self.refused[answer.code] += 1
                    await asyncio.sleep(0.1)
                async with self._news:
                    self.acknowledged.append(control_id)
                    self._news.notify_all()


async def everything_arrived(senders: Senders, broker: LocalServices) -> None:
    """Each was acknowledged once, and what was acknowledged is there, if perhaps more than once."""
    assert Counter(senders.acknowledged) == Counter(f"{senders.prefix}{number:07d}" for number in range(senders.issued))
    assert set(await stored_ids(broker, senders.prefix)) == set(senders.acknowledged)


async def kill_listener(listening: ListenerProcess, broker: LocalServices, kills: int) -> None:
    senders, finished = Senders(listening.port, f"K{kills}X"), asyncio.Event()
    running = asyncio.create_task(senders.run(finished))
    for _ in range(kills):
        await senders.until(len(senders.acknowledged) + RATE)
        await asyncio.to_thread(listening.kill)
        await asyncio.to_thread(listening.start)  # fails when the port is not free at once
    await senders.until(len(senders.acknowledged) + RATE)
    finished.set()
    await running
    assert senders.broken >= kills
    await everything_arrived(senders, broker)


async def kill_kafka(listening: ListenerProcess, broker: LocalServices, away_s: float, kills: int) -> None:
    senders, finished = Senders(listening.port, f"B{kills}X"), asyncio.Event()
    running = asyncio.create_task(senders.run(finished))
    for _ in range(kills):
        await senders.until(len(senders.acknowledged) + RATE)
        async with away(broker, "kafka"):
            await asyncio.sleep(away_s)  # what is tested: so long away
    await senders.until(len(senders.acknowledged) + RATE)
    finished.set()
    await running
    assert max(senders.waits) < 10
    assert set(senders.refused) == {"AE"}
    assert senders.broken == 0, "the listener keeps its connections"
    await everything_arrived(senders, broker)


async def test_the_listener_is_killed(listening: ListenerProcess, broker: LocalServices) -> None:
    await kill_listener(listening, broker, 1)


async def test_kafka_is_killed_and_20_s_away(listening: ListenerProcess, broker: LocalServices) -> None:
    await kill_kafka(listening, broker, 20, 1)


@pytest.mark.long
async def test_the_listener_is_killed_20_times(listening: ListenerProcess, broker: LocalServices) -> None:
    await kill_listener(listening, broker, 20)


@pytest.mark.long
async def test_kafka_is_killed_10_times(listening: ListenerProcess, broker: LocalServices) -> None:
    await kill_kafka(listening, broker, 20, 10)


class Pipelining:
    """One connection that sends without waiting for answers, and keeps every answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.answers: dict[str, str] = {}
        self.closed = False

    @classmethod
    async def to(cls, port: int) -> Pipelining:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, control_ids: list[str]) -> None:
        self._writer.write(b"".join(frame(message(control_id)) for control_id in control_ids))
        await self._writer.drain()
        await asyncio.sleep(0)  # drain gives nobody a turn while the listener takes everything: a sender reads too

    async def read(self, count: int | None = None) -> None:
        """So many answers in all, or until the listener closes."""
        decoder = FrameDecoder()
        while count is None or len(self.answers) < count:
            try:
                data = await self._reader.read(65536)
            except ConnectionResetError:  # it did not read all that we sent
                data = b""
            if not data:
                self.closed = True
                return
            for item in decoder.feed(data):
                assert isinstance(item, Frame)
                ack = read_acknowledgement(item.content)
                self.answers[ack.message_control_id] = ack.code

    def close(self) -> None:
        self._writer.close()


async def in_flight(listening: ListenerProcess, prefix: str) -> list[Pipelining]:
    """Connections that have had an answer, and now have sent 50 messages each."""
    peers = [await Pipelining.to(listening.port) for _ in range(CONNECTIONS)]
    for number, peer in enumerate(peers):
        await peer.send([f"{prefix}{number}000"])
        await peer.read(1)
    return peers


def _fifty(prefix: str, peer: int) -> list[str]:
    return [f"{prefix}{peer}{number:03d}" for number in range(1, 51)]


@pytest.mark.parametrize(("broker_returns", "code"), [(True, "AA"), (False, "AE")])
async def test_term_answers_what_is_in_flight(
    listening: ListenerProcess, broker: LocalServices, broker_returns: bool, code: str
) -> None:
    """The broker stands still, so all 400 messages are in flight at the moment of TERM."""
    prefix = f"T{code}".replace("A", "1").replace("E", "2")
    peers = await in_flight(listening, prefix)
    readers = []
    with paused(broker, "kafka"):
        for number, peer in enumerate(peers):
            await peer.send(_fifty(prefix, number))
        async with asyncio.timeout(5):
            while listening.unread_bytes():
                await asyncio.sleep(0.01)  # the kernel is asked: there is no event to await
        listening.terminate()
        begun = asyncio.get_running_loop().time()
        readers = [asyncio.create_task(peer.read()) for peer in peers]
        async with asyncio.timeout(5):
            while await asyncio.to_thread(listening.is_open):
                await asyncio.sleep(0.02)  # a port is asked: there is no event to await
        if not broker_returns:
            assert await asyncio.to_thread(listening.wait, 10) == 0
    assert await asyncio.to_thread(listening.wait, 10) == 0
    assert asyncio.get_running_loop().time() - begun < 10
    await asyncio.gather(*readers)
    for number, peer in enumerate(peers):
        assert peer.closed
        peer.close()
        assert {name: peer.answers.get(name) for name in _fifty(prefix, number)} == dict.fromkeys(_fifty(prefix, number), code)
    there = set(await stored_ids(broker, prefix))
    assert {name for peer in peers for name, answer in peer.answers.items() if answer == "AA"} <= there


async def test_term_under_load(listening: ListenerProcess, broker: LocalServices) -> None:
    """Whatever was stored was answered, and what was not answered is not there: its sender keeps it."""
    peers = [await Pipelining.to(listening.port) for _ in range(CONNECTIONS)]
    readers = [asyncio.create_task(peer.read()) for peer in peers]

    async def send(number: int, peer: Pipelining) -> None:
        try:
            for begin in range(0, 100_000, 50):
                if peer.closed:
                    return
                await peer.send([f"TL{number}{begin + n:06d}" for n in range(50)])
        except ConnectionError:
            return

    senders = [asyncio.create_task(send(number, peer)) for number, peer in enumerate(peers)]
    async with asyncio.timeout(30):
        while sum(len(peer.answers) for peer in peers) < 2000:
            await asyncio.sleep(0.01)  # several connections are counted
    listening.terminate()
    assert await asyncio.to_thread(listening.wait, 10) == 0
    await asyncio.gather(*senders, *readers)
    answered = {name for peer in peers for name in peer.answers}
    assert {answer for peer in peers for answer in peer.answers.values()} == {"AA"}
    assert set(await stored_ids(broker, "TL")) == answered
    for peer in peers:
        peer.close()
