"""The role `listen` at its port: what is appended for what a peer sends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.mllp.client import MllpClient
from connectors.mllp.codes import Trouble
from connectors.mllp.framing import frame
from connectors.mllp.server import MllpServer
from schemas.errors import SettingsInvalid
from schemas.hl7v2.site import Site
from schemas.ports import Outgoing
from streams.clock import SystemClock
from streams.health import Health, RoleHealth, read_health
from streams.listen import Wellbeing, listen, listener
from streams.listener_settings import ListenerSettings, MllpSettings
from streams.settings import SiteSettings
from streams.topics import DEAD_LETTERS, HL7_ACKNOWLEDGEMENTS, HL7_RAW
from tests.contract.fake_event_log import FakeEventLog

MESSAGE = b"\xef\xbb\xbfMSH|^~\\&|RIS^1.2^ISO|H|||20260101||ORM^O01|C1|P|2.5.1||||||8859/1\nNTE|1||M\xfcller\n"


@pytest.fixture
def event_log() -> FakeEventLog:
    return FakeEventLog(HL7_RAW.name, DEAD_LETTERS.name)


@asynccontextmanager
async def listening(event_log: FakeEventLog, folder: Path, **settings: Any) -> AsyncIterator[MllpServer]:
    # port 0 is no setting: the listener of a test takes any free one
    one = ListenerSettings.model_construct(**{**ListenerSettings().model_dump(), "port": 0, **settings})
    server = listener(event_log, SystemClock(), one, SiteSettings(), Wellbeing(Health(folder, "listen")))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def send(event_log: FakeEventLog, folder: Path, *messages: bytes, **settings: Any) -> list[str]:
    async with listening(event_log, folder, **settings) as server, MllpClient("127.0.0.1", server.port) as client:
        return [(await client.send(message)).code for message in messages]


async def test_a_message_is_on_the_log_byte_for_byte(event_log: FakeEventLog, tmp_path: Path) -> None:
    assert await send(event_log, tmp_path, MESSAGE) == ["AA"]
    [record] = event_log.records(HL7_RAW.name)
    assert record.value == MESSAGE
    assert record.key == b"RIS^1.2^ISO|H"
    assert record.header("ce_type") == "org.radstream.hl7v2.received.v1"
    assert record.header("content-type") == "x-application/hl7-v2+er7"
    assert (record.header("peer") or "").startswith("127.0.0.1:")
    assert record.header("ce_time")
    assert event_log.records(DEAD_LETTERS.name) == []


async def test_a_resend_has_the_same_id_and_other_bytes_another(event_log: FakeEventLog, tmp_path: Path) -> None:
    assert await send(event_log, tmp_path, MESSAGE, MESSAGE, MESSAGE + b"ZZZ|1\n") == ["AA"] * 3
    first, again, other = (record.header("ce_id") for record in event_log.records(HL7_RAW.name))
    assert first == again != other


async def test_a_broker_that_is_away(event_log: FakeEventLog, tmp_path: Path) -> None:
    event_log.away = True
    assert await send(event_log, tmp_path, MESSAGE) == ["AE"]
    event_log.away = False
    assert await send(event_log, tmp_path, MESSAGE) == ["AA"]


def test_a_charset_that_nobody_reads_cannot_be_set() -> None:
    with pytest.raises(ValidationError):
        Site(default_assigner="HOSPITAL", default_charset="KLINGON")


async def test_a_listener_has_a_character_set_of_its_own(event_log: FakeEventLog, tmp_path: Path) -> None:
    """For an empty MSH-18; the record says so, because the normaliser does not know the listener."""
    message = "MSH|^~\\&|RIS|放射科|||20260101||ORM^O01|C1|P|2.5.1\r".encode("big5")
    assert await send(event_log, tmp_path, message, default_charset="BIG-5") == ["AA"]
    assert await send(event_log, tmp_path, message) == ["AA"]
    own, site = event_log.records(HL7_RAW.name)
    assert (own.key, own.header("charset")) == ("RIS|放射科".encode(), "BIG-5")
    assert site.header("charset") is None


async def test_a_message_over_the_limit_of_its_listener(event_log: FakeEventLog, tmp_path: Path) -> None:
    assert await send(event_log, tmp_path, MESSAGE, size_limit=len(MESSAGE) - 1) == ["AR"]
    assert await send(event_log, tmp_path, MESSAGE, size_limit=len(MESSAGE)) == ["AA"]


async def test_garbage_is_a_dead_letter(event_log: FakeEventLog, tmp_path: Path) -> None:
    async with listening(event_log, tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(b"\x00garbage\xff"))
        answer = await reader.readuntil(b"\x1c\r")
        assert b"\rMSA|AR|\r" in answer
        writer.close()
    [letter] = event_log.records(DEAD_LETTERS.name)
    assert letter.value == b"\x00garbage\xff"
    told = {name: letter.header(name) for name in ("topic", "step", "error", "reason", "ce_type")}
    assert told == {
        "topic": "mllp",
        "step": "listen",
        "error": "MalformedMessage",
        "reason": "a frame that holds no HL7 message",
        "ce_type": "org.radstream.dead-letter.v1",
    }
    assert event_log.records(HL7_RAW.name) == []


async def test_an_answer_that_comes_later_reaches_the_connection_that_waits(
    event_log: FakeEventLog, tmp_path: Path, unused_tcp_port: int
) -> None:
    event_log.create(HL7_ACKNOWLEDGEMENTS.name)
    stop, health = asyncio.Event(), Health(tmp_path, "listen")
    settings = MllpSettings(port=unused_tcp_port)
    role = asyncio.create_task(listen(event_log, SystemClock(), settings, SiteSettings(), stop, health))
    await until(tmp_path, "ready")
    reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    writer.write(frame(MESSAGE.replace(b"|P|2.5.1|", b"|P|2.5.1|||AL|AL").replace(b"|||||8859/1", b"||8859/1")))
    async with asyncio.timeout(20):
        assert b"\rMSA|CA|C1\r" in await reader.readuntil(b"\x1c\r")
        [record] = event_log.records(HL7_RAW.name)
        to = record.header("answer-to") or ""
        await event_log.append([Outgoing(HL7_ACKNOWLEDGEMENTS.name, record.key, b"MSH|answer", (("answer-to", to.encode()),))])
        assert await reader.readuntil(b"\x1c\r") == frame(b"MSH|answer")
    writer.close()
    stop.set()
    await asyncio.wait_for(role, 10)


async def test_commit_bytes_and_codes_are_the_listeners(event_log: FakeEventLog, tmp_path: Path) -> None:
    async with listening(event_log, tmp_path, commit_bytes=True, codes={Trouble.UNREADABLE: "error"}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frame(MESSAGE) + frame(b"\x06") + frame(b"garbage"))
        async with asyncio.timeout(20):
            answers = [await reader.readuntil(b"\x1c\r") for _ in range(4)]
        writer.close()
    assert (answers[0], answers[2]) == (b"\x0b\x06\x1c\r", b"\x0b\x15\x1c\r")
    assert b"\rMSA|AA|C1\r" in answers[1]
    assert b"\rMSA|AE|\r" in answers[3]
    assert [record.value for record in event_log.records(DEAD_LETTERS.name)] == [b"garbage"]


async def test_a_test_message_reaches_no_production_topic(event_log: FakeEventLog, tmp_path: Path) -> None:
    assert await send(event_log, tmp_path, MESSAGE.replace(b"|P|", b"|T|")) == ["AR"]
    assert event_log.records(HL7_RAW.name) == []
    assert len(event_log.records(DEAD_LETTERS.name)) == 1


async def until(folder: Path, state: str) -> RoleHealth:
    async with asyncio.timeout(10):
        while (found := read_health(folder).get("listen")) is None or found.state != state:
            await asyncio.sleep(0.01)  # a file gives no event
    return found


async def test_the_role_is_ready_says_when_the_log_is_away_and_stops(
    event_log: FakeEventLog, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> None:
    first, second = unused_tcp_port_factory(), unused_tcp_port_factory()
    settings = MllpSettings(port=first, listeners=(ListenerSettings(port=second),))
    stop, health = asyncio.Event(), Health(tmp_path, "listen")
    role = asyncio.create_task(listen(event_log, SystemClock(), settings, SiteSettings(), stop, health))
    await until(tmp_path, "ready")
    async with MllpClient("127.0.0.1", first) as one, MllpClient("127.0.0.1", second) as other:
        assert (await one.send(MESSAGE)).code == "AA"
        event_log.away = True
        assert (await other.send(MESSAGE)).code == "AE"
        assert (await until(tmp_path, "paused")).reason.startswith(f"127.0.0.1:{second}: ")
        event_log.away = False
        assert (await other.send(MESSAGE)).code == "AA"
        assert (await until(tmp_path, "ready")).reason == ""
    stop.set()
    await asyncio.wait_for(role, 5)
    assert [record.value for record in event_log.records(HL7_RAW.name)] == [MESSAGE, MESSAGE]
    for port in (first, second):
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_all_listen_or_none(event_log: FakeEventLog, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> None:
    free, taken = unused_tcp_port_factory(), unused_tcp_port_factory()
    settings = MllpSettings(port=free, listeners=(ListenerSettings(port=taken),))
    occupied = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", taken)
    async with occupied:
        with pytest.raises(SettingsInvalid, match=f"127.0.0.1:{taken}: the address cannot be bound"):
            await listen(event_log, SystemClock(), settings, SiteSettings(), asyncio.Event(), Health(tmp_path, "listen"))
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", free)


def test_an_alarm_of_one_listener_is_told_while_all_go_on(tmp_path: Path) -> None:
    wellbeing = Wellbeing(Health(tmp_path, "listen"))

    def told() -> tuple[str, str]:
        health = read_health(tmp_path)["listen"]
        return health.state, health.reason

    wellbeing.alarm("10.0.0.1:2576", "old certificate")
    assert told() == ("ready", "10.0.0.1:2576: old certificate")
    wellbeing.away("10.0.0.1:2577", "no broker")
    assert told() == ("paused", "10.0.0.1:2577: no broker")
    wellbeing.stored("10.0.0.1:2577")
    assert told() == ("ready", "10.0.0.1:2576: old certificate")
    wellbeing.alarm("10.0.0.1:2576", "")
    assert told() == ("ready", "")


def test_the_listener_is_light() -> None:
    """No model, no rendering, no client that it does not need: it starts at once and stays small."""
    heavy = ("torch", "fhir", "hl7apy", "numpy", "pydicom", "faust", "schemas.renderings", "models")
    code = f"import sys, streams.listen; sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
