"""Broken messages and frames, over TCP, into the listener's process and a real Kafka: nothing is lost, nobody is left waiting."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from connectors.kafka import KafkaLog
from connectors.kafka_admin import end_offsets
from connectors.mllp.framing import Fault, Frame, FrameDecoder, frame
from schemas.errors import Rejected
from schemas.hl7v2.acknowledgement import Ack, read_acknowledgement
from schemas.ports import Record
from streams.services import LocalServices
from streams.settings import SiteSettings
from streams.steps.normalise import normalise
from streams.topics import DEAD_LETTERS, HL7_RAW
from tests.service.listener_process import ListenerProcess
from tests.service.mutations import SIZE_LIMIT, message, wire

pytestmark = pytest.mark.service

SEED = 20261125
PER_CONNECTION, AT_A_TIME = 10, 20
#: what may be left out: the marks of the framing, and line ends and blanks between frames
DROPPED = set(b"\x0b\x1c\r\n \t")
#: bytes that were no message of their own: nobody waits for an answer to them
UNANSWERED = {Fault.STRAY, Fault.UNFINISHED, Fault.TOO_LARGE_REST}


@pytest.fixture
def listening(broker: LocalServices, tmp_path: Path) -> Iterator[ListenerProcess]:
    """It waits for a Kafka on a slow machine, rather than answer AE or send a batch again: everything is stored once."""
    listener = ListenerProcess(broker.kafka_bootstrap, tmp_path, append_timeout_s=60, size_limit=SIZE_LIMIT)
    listener.start()
    yield listener
    listener.end()


async def converse(port: int, sent: bytes, random: Random) -> tuple[str, list[Ack]]:
    """Sends in pieces, says that it is finished, and reads until the listener closes. Returns our own address too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    host, own_port, *_ = writer.get_extra_info("sockname")
    cuts = sorted(random.randint(0, len(sent)) for _ in range(3))
    received = asyncio.create_task(reader.read())  # all the time: who does not read is not read from
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        writer.write(sent[begin:end])
        await writer.drain()
    writer.write_eof()
    async with asyncio.timeout(60):
        answers = await received
    writer.close()
    decoder = FrameDecoder()
    items = decoder.feed(answers) + decoder.close()
    assert all(isinstance(item, Frame) for item in items), items
    return f"{host}:{own_port}", [read_acknowledgement(item.content) for item in items]


def lines_of_batch(record: Record) -> list[bytes]:
    """FHS, BHS, BTS and FTS travel beside the message that they stood next to."""
    return [value for name, value in record.headers if name.startswith("batch-")]


def not_found_again(sent: bytes, stored: list[bytes]) -> dict[int, int]:
    """How many of which bytes of `sent` are not in `stored`, negative: too many; beside what may be left out. Fails when something
    is stored that does not stand in `sent` in one piece. Where a piece was sent twice, this does not ask which one it is."""
    for piece in stored:
        assert piece in sent, f"{len(piece)} bytes were stored that were not sent: {piece[:80]!r}"
    rest = Counter(sent)
    rest.subtract(b"".join(stored))
    return {byte: count for byte, count in rest.items() if count < 0 or (count and byte not in DROPPED)}


def msh(content: bytes) -> list[bytes]:
    """Its fields from MSH-1 on, found without the reader under test; at least 18."""
    line = re.split(rb"[\r\n]", content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n"), maxsplit=1)[0]
    fields = line[3:].split(line[3:4])[1:] if line[3:4] else []
    return [line[3:4], *fields, *[b""] * 18]


def control_id(content: bytes) -> str:
    return msh(content)[9].decode("latin-1")


def asks_for_its_answer(content: bytes) -> bool:
    """MSH-15 or MSH-16 is valued: enhanced mode, where it is not always answered at once."""
    return any(field.strip() for field in msh(content)[14:16])


async def fuzz(listening: ListenerProcess, bootstrap: str, cases: int) -> None:
    before = {topic.name: await asyncio.to_thread(end_offsets, bootstrap, topic.name) for topic in (HL7_RAW, DEAD_LETTERS)}
    sent: dict[str, bytes] = defaultdict(bytes)
    answered: dict[str, list[Ack]] = defaultdict(list)
    numbers = iter(range(0, cases, PER_CONNECTION))

    async def conversation(data: bytes, random: Random) -> list[Ack]:
        address, answers = await converse(listening.port, data, random)
        sent[address] += data  # a port may come again
        answered[address] += answers
        return answers

    async def peer() -> None:
        for first in numbers:
            random = Random(SEED + first)  # whoever comes to it, the bytes are the same
            await conversation(b"".join(wire(random, number) for number in range(first, first + PER_CONNECTION)), random)

    await asyncio.gather(*(peer() for _ in range(AT_A_TIME)))
    [good] = await conversation(frame(message(Random(SEED), cases)), Random(SEED))
    assert good.code == "AA" and listening.is_running
    assert {answer.code for answers in answered.values() for answer in answers} <= {"AA", "AR", "CA", "CR"}

    async with KafkaLog(bootstrap) as log:
        raw, letters = [
            [r async for r in log.read(name) if r.header("peer") in sent and r.place.offset >= begins[r.place.partition]]
            for name, begins in before.items()
        ]
    stored: dict[str, list[bytes]] = defaultdict(list)
    for record in (*raw, *letters):
        stored[record.header("peer") or ""] += [record.value, *lines_of_batch(record)]
    for address, data in sent.items():
        assert not_found_again(data, stored[address]) == {}, address
    every_answer_is_right(raw, letters, answered)
    await normalised(raw)
    assert len(raw) > cases * 0.5 and len(letters) > cases * 0.1, "the mutations are neither all harmless nor all fatal"


def every_answer_is_right(raw: list[Record], letters: list[Record], answered: dict[str, list[Ack]]) -> None:
    """Of each connection: one positive answer for each stored message, with its MSH-10; one negative for what was refused."""
    accepted, perhaps = (defaultdict[str, Counter[str]](Counter) for _ in range(2))
    refused, perhaps_refused = Counter[str](), Counter[str]()
    for record in raw:
        kind = perhaps if asks_for_its_answer(record.value) else accepted
        kind[record.header("peer") or ""][control_id(record.value)] += 1
    for record in letters:
        if record.header("reason") not in UNANSWERED:
            one = perhaps_refused if asks_for_its_answer(record.value) else refused
            one[record.header("peer") or ""] += 1
    for address, answers in answered.items():
        positive = Counter(answer.message_control_id for answer in answers if answer.code in ("AA", "CA"))
        negative = sum(answer.code in ("AR", "CR") for answer in answers)
        assert not accepted[address] - positive, f"{address}: stored and not acknowledged"
        assert not positive - accepted[address] - perhaps[address], f"{address}: acknowledged and not stored"
        assert refused[address] <= negative <= refused[address] + perhaps_refused[address], address
        assert positive.total() + negative == len(answers)


async def normalised(raw: list[Record]) -> None:
    """Whatever is on the topic, the normaliser has an event for it, or a word of refusal."""
    site = SiteSettings()
    outcomes: Counter[str] = Counter()
    for record in raw:
        try:
            outcomes["events"] += len(await normalise(record, site=site))
        except Rejected as error:
            outcomes[type(error).__name__] += 1
    assert outcomes["events"] and outcomes["MalformedMessage"], outcomes


async def test_5_000_mutations(listening: ListenerProcess, broker: LocalServices) -> None:
    await fuzz(listening, broker.kafka_bootstrap, 5_000)


@pytest.mark.long
async def test_100_000_mutations(listening: ListenerProcess, broker: LocalServices) -> None:
    await fuzz(listening, broker.kafka_bootstrap, 100_000)
