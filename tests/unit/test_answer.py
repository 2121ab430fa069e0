"""Application answers to a return address: which are sent, and what becomes of each answer to an answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import Refused, Unavailable
from schemas.hl7v2.acknowledgement import Ack
from schemas.ports import Place, Record
from streams.health import Health, Shared, read_health
from streams.listener_settings import MllpSettings
from streams.steps.answer import TRIES, AnswerTo
from streams.topics import HL7_ACKNOWLEDGEMENTS
from streams.wiring.edges import return_addresses

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Receiver:
    def __init__(self, *codes: str) -> None:
        self.codes = list(codes)
        self.got: list[bytes] = []

    async def __call__(self, message: bytes) -> Ack:
        self.got.append(message)
        return Ack(self.codes.pop(0) if self.codes else "CA", "1", "", b"")


def record(to: str = "ris:1", offset: int = 0) -> Record:
    return Record(Place(HL7_ACKNOWLEDGEMENTS.name, 0, offset), b"k", b"answer", (("answer-to", to.encode()),), AT)


async def test_only_what_is_addressed_there_is_sent() -> None:
    receiver = Receiver()
    step = AnswerTo("ris:1", receiver)
    for to in ("ris:1", "ris:2", "process/1/1", ""):
        assert await step(record(to)) == []
    assert receiver.got == [b"answer"]


@pytest.mark.parametrize("code", ["AA", "CA"])
async def test_accepted(code: str) -> None:
    assert await AnswerTo("ris:1", Receiver(code))(record()) == []


@pytest.mark.parametrize("code", ["AR", "CR", "XX", "SECRET^NAME"])
async def test_refused_is_for_a_person(code: str) -> None:
    with pytest.raises(Refused) as refused:
        await AnswerTo("ris:1", Receiver(code))(record())
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("code", ["AE", "CE"])
async def test_not_now_is_tried_again_but_not_for_ever(code: str) -> None:
    step = AnswerTo("ris:1", Receiver(*[code] * (TRIES + 1)))
    for _ in range(TRIES - 1):
        with pytest.raises(Unavailable):
            await step(record())
    with pytest.raises(Refused):
        await step(record())
    with pytest.raises(Unavailable):
        await step(record(offset=1))


def test_every_return_address_of_the_settings_once() -> None:
    settings = MllpSettings.model_validate(
        {
            "return_address": "127.0.0.1:1",
            "peers": [{"address": "10.0.0.1", "return_address": "127.0.0.1:2"}, {"address": "10.0.0.2"}],
            "listeners": [{"port": 3000, "return_address": "127.0.0.1:1"}, {"port": 3001}],
        }
    )
    assert list(return_addresses(settings)) == ["127.0.0.1:1", "127.0.0.1:2"]
    assert list(return_addresses(MllpSettings())) == []


def test_a_role_of_several_parts_is_ready_when_all_are(tmp_path: Path) -> None:
    shared = Shared(Health(tmp_path, "deliver"))
    one, other = shared.part("fhir"), shared.part("ris:1")

    def told() -> tuple[str, str]:
        health = read_health(tmp_path)["deliver"]
        return health.state, health.reason

    one.set("ready")
    assert told()[0] == "starting"
    other.set("ready")
    assert told() == ("ready", "")
    one.set("paused", "no server")
    other.set("paused", "no receiver")
    assert told() == ("paused", "fhir: no server; ris:1: no receiver")
    one.set("ready")
    assert told() == ("paused", "ris:1: no receiver")
    other.set("ready")
    assert told() == ("ready", "")


async def test_when_one_part_ends_all_do() -> None:
    from streams.wiring.running import together

    stop, ended = asyncio.Event(), []

    async def fails() -> None:
        raise Unavailable("answer", "x", "gone")

    async def runs() -> None:
        await stop.wait()
        ended.append(True)

    with pytest.raises(Unavailable):
        await asyncio.wait_for(together(stop, runs(), fails()), 10)
    assert ended == [True]
