"""The role `listen` at its port: what is appended for what a peer sends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.mllp.client import MllpClient
from connectors.mllp.framing import frame
from schemas.hl7v2.site import Site
from streams.clock import SystemClock
from streams.health import Health, read_health
from streams.listen import listen, listener
from streams.listener_settings import MllpSettings
from streams.settings import SiteSettings
from streams.topics import DEAD_LETTERS, HL7_RAW
from tests.contract.fake_event_log import FakeEventLog

MESSAGE = b"\xef\xbb\xbfMSH|^~\\&|RIS^1.2^ISO|H|||20260101||ORM^O01|C1|P|2.5.1||||||8859/1\nNTE|1||M\xfcller\n"


@pytest.fixture
def event_log() -> FakeEventLog:
    return FakeEventLog(HL7_RAW.name, DEAD_LETTERS.name)


async def send(event_log: FakeEventLog, *messages: bytes) -> list[str]:
    # port 0 is no setting: the listener of a test takes any free one
    server = listener(
        event_log, SystemClock(), MllpSettings.model_construct(**{**MllpSettings().model_dump(), "port": 0}), SiteSettings()
    )
    await server.start()
    try:
        async with MllpClient("127.0.0.1", server.port) as client:
            return [(await client.send(message)).code for message in messages]
    finally:
        await server.stop()


async def test_a_message_is_on_the_log_byte_for_byte(event_log: FakeEventLog) -> None:
    assert await send(event_log, MESSAGE) == ["AA"]
    [record] = event_log.records(HL7_RAW.name)
    assert record.value == MESSAGE
    assert record.key == b"RIS^1.2^ISO|H"
    assert record.header("ce_type") == "org.radstream.hl7v2.received.v1"
    assert record.header("content-type") == "x-application/hl7-v2+er7"
    assert (record.header("peer") or "").startswith("127.0.0.1:")
    assert record.header("ce_time")
    assert event_log.records(DEAD_LETTERS.name) == []


async def test_a_resend_has_the_same_id_and_other_bytes_another(event_log: FakeEventLog) -> None:
    assert await send(event_log, MESSAGE, MESSAGE, MESSAGE + b"ZZZ|1\n") == ["AA"] * 3
    first, again, other = (record.header("ce_id") for record in event_log.records(HL7_RAW.name))
    assert first == again != other


async def test_a_broker_that_is_away(event_log: FakeEventLog) -> None:
    event_log.away = True
    assert await send(event_log, MESSAGE) == ["AE"]
    event_log.away = False
    assert await send(event_log, MESSAGE) == ["AA"]


def test_a_charset_that_nobody_reads_cannot_be_set() -> None:
    with pytest.raises(ValidationError):
        Site(default_assigner="HOSPITAL", default_charset="KLINGON")


async def test_garbage_is_a_dead_letter(event_log: FakeEventLog) -> None:
    server = listener(
        event_log, SystemClock(), MllpSettings.model_construct(**{**MllpSettings().model_dump(), "port": 0}), SiteSettings()
    )
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(frame(b"\x00garbage\xff"))
    answer = await reader.readuntil(b"\x1c\r")
    assert b"\rMSA|AR|\r" in answer
    writer.close()
    await server.stop()
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


async def test_the_role_is_ready_says_when_the_log_is_away_and_stops(
    event_log: FakeEventLog, tmp_path: Path, unused_tcp_port: int
) -> None:
    def state() -> str | None:
        found = read_health(tmp_path).get("listen")
        return found.state if found else None

    stop, health = asyncio.Event(), Health(tmp_path, "listen")
    settings = MllpSettings(port=unused_tcp_port)
    role = asyncio.create_task(listen(event_log, SystemClock(), settings, SiteSettings(), stop, health))
    async with asyncio.timeout(5):
        while state() != "ready":
            await asyncio.sleep(0.01)
    async with MllpClient("127.0.0.1", unused_tcp_port) as client:
        event_log.away = True
        assert (await client.send(MESSAGE)).code == "AE"
        assert state() == "paused"
        event_log.away = False
        assert (await client.send(MESSAGE)).code == "AA"
        assert state() == "ready"
    stop.set()
    await asyncio.wait_for(role, 5)
    [record] = event_log.records(HL7_RAW.name)
    assert record.value == MESSAGE


def test_the_listener_is_light() -> None:
    """No model, no rendering, no client that it does not need: it starts at once and stays small."""
    heavy = ("torch", "fhir", "hl7apy", "numpy", "pydicom", "faust", "schemas.renderings", "models")
    code = f"import sys, streams.listen; sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
