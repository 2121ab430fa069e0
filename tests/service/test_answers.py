"""What a sender is told after normalising, through the roles as an operator runs them: on its own connection, at a return
address, on a topic."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from connectors.kafka import KafkaLog
from connectors.mllp.dialogue import Received
from connectors.mllp.framing import Frame, FrameDecoder, frame
from connectors.mllp.server import MllpServer
from schemas.errors import BrokerUnavailable
from schemas.events import MessageRejected
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement
from schemas.hl7v2.header import Header
from schemas.ports import Outgoing
from streams.clock import SystemClock
from streams.listener_settings import ListenerSettings
from streams.services import LocalServices, ServicePorts, running_services
from streams.services.probes import LOOPBACK, free_ports
from streams.settings import DatabaseSettings, KafkaSettings, MllpSettings, Settings, as_environment
from streams.tally import read_tallies
from streams.topics import HL7_RAW, HL7_REJECTED
from streams.wiring.clients import ensure_all_topics

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
#: three processes start, on two busy cores
PATIENCE_S = 120


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: its hl7.v2.raw holds nothing but what is sent here."""
    with running_services(
        tmp_path_factory.mktemp("services"), ServicePorts.free(), only=("kafka",), tell=lambda _: None
    ) as services:
        yield services


@dataclass
class Engine:
    """Two listeners, the second with a return address, and what makes and delivers their answers."""

    settings: Settings
    return_port: int

    @property
    def port(self) -> int:
        return self.settings.mllp.port

    @property
    def returning_port(self) -> int:
        return self.settings.mllp.listeners[0].port


@pytest.fixture(scope="module")
def engine(kafka: LocalServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    port, second, returning = free_ports(3)
    settings = Settings(
        run_folder=folder / "run",
        kafka=KafkaSettings(bootstrap=kafka.kafka_bootstrap),
        mllp=MllpSettings(port=port, listeners=(ListenerSettings(port=second, return_address=f"{LOOPBACK}:{returning}"),)),
        database=DatabaseSettings(url=f"sqlite:///{folder}/radstream.db"),
    )
    ensure_all_topics(settings)
    environment = {**os.environ, **as_environment(settings), "PYTHONPATH": str(ROOT)}
    processes = []
    for role in ("listen", "work normalise", "deliver"):
        with (folder / f"{role}.log").open("ab") as output:
            command = [sys.executable, "-m", "streams", *role.split()]
            processes.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output))
    yield Engine(settings, returning)
    for process in processes:
        process.terminate()
    codes = [process.wait(60) for process in processes]
    logs = "".join(file.read_text()[-3000:] for file in sorted(folder.glob("*.log")))
    assert codes == [0, 0, 0], logs
    assert "Traceback" not in logs and "SECRET" not in logs, logs


def message(
    control_id: str, *, application: str = "AL", number: str = "P1", processing_id: str = "P", sender: str = "RIS"
) -> bytes:
    return (
        f"MSH|^~\\&|{sender}|H|||20260101120000||ORM^O01^ORM_O01|{control_id}|{processing_id}|2.5.1|||AL|{application}\r"
        f"PID|1||1^^^HOSPITAL^MR||SECRET\rORC|NW|{number}\rOBR|1|{number}||36643-5^XR chest^LN\r"
    ).encode()


@dataclass
class Sender:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _decoder: FrameDecoder = field(default_factory=FrameDecoder)
    _ready: list[Ack] = field(default_factory=list)

    def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(map(frame, messages)))

    async def hears(self, count: int) -> list[tuple[str, str, str]]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self._ready) < count:
                data = await self.reader.read(65536)
                assert data, "connection closed"
                self._ready += [read_acknowledgement(one.content) for one in self._decoder.feed(data) if isinstance(one, Frame)]
        taken, self._ready = self._ready[:count], self._ready[count:]
        return [(ack.code, ack.message_control_id, ack.condition) for ack in taken]


async def connected(port: int) -> Sender:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return Sender(*await asyncio.open_connection(LOOPBACK, port))
            except OSError:
                await asyncio.sleep(0.1)  # the role starts: a port gives no event


@pytest.fixture
async def log(kafka: LocalServices) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        yield log


async def test_commit_answer_and_application_answer_on_the_senders_own_connection(engine: Engine) -> None:
    sender, other = await connected(engine.port), await connected(engine.port)
    sender.send(message("C1"))
    assert await sender.hears(2) == [("CA", "C1", ""), ("AA", "C1", "")]
    sender.send(message("C1"))
    assert await sender.hears(2) == [("CA", "C1", ""), ("AA", "C1", "")]  # a resend is answered again
    sender.send(message("C2", number=""))
    assert await sender.hears(2) == [("CA", "C2", ""), ("AE", "C2", "101")]
    sender.send(message("C3", application="ER"), message("C4", application="ER", number=""), message("C5", application="NE"))
    assert sorted(await sender.hears(4)) == [("AE", "C4", "101"), ("CA", "C3", ""), ("CA", "C4", ""), ("CA", "C5", "")]
    sender.send(message("C6", processing_id="T"))
    assert await sender.hears(1) == [("CR", "C6", "202")]
    other.send(message("D1"))
    assert await other.hears(2) == [("CA", "D1", ""), ("AA", "D1", "")]
    for one in (sender, other):
        one.writer.close()


async def test_many_at_once_each_answered_twice_and_the_commit_answer_first(engine: Engine) -> None:
    sender = await connected(engine.port)
    sender.send(*(message(f"M{number}", number=f"N{number}") for number in range(200)))
    heard = await sender.hears(400)
    commits = [name for code, name, _ in heard if code == "CA"]
    assert commits == [f"M{number}" for number in range(200)]
    assert sorted(name for code, name, _ in heard if code == "AA") == sorted(commits)
    for name in commits:
        assert heard.index(("CA", name, "")) < heard.index(("AA", name, ""))
    sender.writer.close()


async def test_application_answers_to_a_return_address_in_order_and_again_after_an_error(engine: Engine) -> None:
    received: asyncio.Queue[Received] = asyncio.Queue()
    failures = [BrokerUnavailable("store", "test", "not yet")]
    tries: list[list[str]] = []

    async def store(batch: Sequence[Received]) -> None:
        tries.append([read_acknowledgement(one.content).message_control_id for one in batch])
        if failures:
            raise failures.pop()
        for one in batch:
            received.put_nowait(one)

    sender = await connected(engine.returning_port)
    sender.send(message("R1"), message("R2", number=""), message("R3", sender="OTHER"))
    assert await sender.hears(3) == [("CA", "R1", ""), ("CA", "R2", ""), ("CA", "R3", "")]
    # its receiver comes late, and refuses at first
    server = MllpServer(store, SystemClock(), port=engine.return_port)
    await server.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            answers = [await received.get() for _ in range(3)]
    finally:
        await server.stop()
    told = [read_acknowledgement(one.content) for one in answers]
    of_one, of_other = (
        [(ack.code, ack.message_control_id, ack.condition) for ack in told if (ack.message_control_id == "R3") is third]
        for third in (False, True)
    )
    assert (of_one, of_other) == ([("AA", "R1", ""), ("AE", "R2", "101")], [("AA", "R3", "")])
    for one in answers:
        header = Header.read(one.content)
        assert (header.field(15), header.field(16)) == ("AL", "NE")
        assert b"SECRET" not in one.content
    in_order = [[ack.message_control_id] for ack in told]
    assert tries == [in_order[0], *in_order], "one at a time: what was refused comes again before any other"
    sender.writer.close()


async def test_who_produces_onto_the_topic_itself_is_told_on_another(engine: Engine, log: KafkaLog) -> None:
    await log.append(
        [
            Outgoing(HL7_RAW.name, b"HIS|H", message("H1", number="")),
            Outgoing(HL7_RAW.name, b"HIS|H", message("H2", processing_id="T")),
            Outgoing(HL7_RAW.name, b"HIS|H", b"garbage"),
        ]
    )
    found: list[MessageRejected] = []
    async with asyncio.timeout(PATIENCE_S):
        async for record in log.read(HL7_REJECTED.name, follow=True):
            assert record.key == b"HIS|H"
            assert (record.header("cause") or "").startswith(HL7_RAW.name)
            found.append(MessageRejected.model_validate_json(record.value))
            if len(found) == 3:
                break
    assert [(one.message_control_id, one.code, one.conditions[0].code) for one in found] == [
        ("H1", "AE", "101"),
        ("H2", "AR", "202"),
        ("", "AR", "100"),
    ]


async def test_the_refusals_are_counted(engine: Engine) -> None:
    """What normalising refused, by sender, and what the listener did."""
    sender = await connected(engine.port)
    sender.send(message("N1", number="", sender="COUNTED"), message("N2", processing_id="T", sender="COUNTED"))
    assert sorted(await sender.hears(3)) == [("AE", "N1", "101"), ("CA", "N1", ""), ("CR", "N2", "202")]
    sender.writer.close()
    async with asyncio.timeout(PATIENCE_S):
        while not all("COUNTED|H" in rejected for rejected in refusals_of(engine)):
            await asyncio.sleep(0.1)  # a file gives no event
    normalising, listening = refusals_of(engine)
    assert (normalising["COUNTED|H"], listening["COUNTED|H"]) == ({"MissingIdentifier": 1}, {"MSH-11": 1})
    assert set(listening) <= {"COUNTED|H", "RIS|H"}


def refusals_of(engine: Engine) -> list[Mapping[str, Mapping[str, int]]]:
    """By the normaliser and by the listener: sender, reason, how often."""
    counts = read_tallies(engine.settings.run_folder)
    return [counts[role]["rejected"] if role in counts else {} for role in ("work-normalise", "listen")]
