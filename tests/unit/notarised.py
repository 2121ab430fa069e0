"""A log, a notary, and what somebody did to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import RecordsRemoved
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.notary import NOTARISED, Notary
from streams.audit.signing import Signer
from streams.audit.verified import Sources, Told, verify
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory

CHECKPOINTS = topics.CHECKPOINTS.name
RESULTS = topics.RESULTS.name


class Later:
    """A clock that goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 30, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@dataclass
class Tampered:
    """A History that shows the log as somebody has left it: records by topic and partition, and where each partition ends."""

    records_of: dict[tuple[str, int], list[Record]]
    spans_of: dict[tuple[str, int], Span]

    async def spans(self, topic: str) -> Sequence[Span]:
        return [span for (name, _), span in sorted(self.spans_of.items()) if name == topic]

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        raise NotImplementedError

    async def records(self, span: Span) -> AsyncIterator[Record]:
        held = self.spans_of[span.topic, span.partition]
        if len(span) and (span.first < held.first or span.end > held.end):
            raise RecordsRemoved("records", str(span), f"the log holds {held}")
        for record in self.records_of[span.topic, span.partition]:
            if span.first <= record.place.offset < span.end:
                yield record


@dataclass
class Notarised:
    """A log with a notary. `restart`: another process has its work from now on."""

    folder: Path
    block: int = 7
    log: FakeEventLog = field(default_factory=FakeEventLog)
    signer: Signer = field(default_factory=lambda: Signer(Ed25519PrivateKey.generate()))
    clock: Later = field(default_factory=Later)

    def __post_init__(self) -> None:
        for topic in (*NOTARISED, topics.CHECKPOINTS):
            self.log.create(topic.name, topic.partitions)
        self.history = FakeHistory(self.log)
        self.restart()

    @property
    def file(self) -> Path:
        return self.folder / "checkpoints.jsonl"

    def restart(self) -> None:
        self.notary = Notary(self.log, self.history, self.signer, CheckpointFile(self.file), self.clock, block=self.block)

    async def write(self, chance: random.Random, count: int) -> None:
        for number in range(count):
            topic = chance.choice(NOTARISED).name
            key = chance.choice([None, b"RIS|A", b"1.2.3", b"fhir|1.2.3"])
            headers = tuple((f"h{one}", chance.randbytes(chance.randrange(5))) for one in range(chance.randrange(3)))
            await self.log.append([Outgoing(topic, key, b"%d " % number + chance.randbytes(chance.randrange(12)), headers)])

    async def sign(self) -> None:
        while await self.notary.look():
            pass

    async def filled(self, chance: random.Random, *, looks: int = 6, each: int = 60) -> None:
        for _ in range(looks):
            await self.write(chance, each)
            await self.sign()

    async def tampered(self) -> Tampered:
        """The log as it stands, to be changed."""
        found, spans = {}, {}
        for topic in self.log.topics:
            for span in await self.history.spans(topic):
                spans[topic, span.partition] = span
                found[topic, span.partition] = [record async for record in self.history.records(span)]
        return Tampered(found, spans)

    async def verify(self, history: Tampered | FakeHistory | None = None, *, signers: Sequence[Signer] = (), **more: bool) -> Told:
        keys = {name: key for one in signers or (self.signer,) for name, key in one.keys.items()}
        return await verify(history or self.history, Sources([self.file], **more), keys)

    def lines(self) -> list[bytes]:
        return self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []


async def result(notarised: Notarised, value: bytes = b"findings") -> Place:
    """One is written."""
    (place,) = await notarised.log.append([Outgoing(RESULTS, b"1.2.3", value)])
    return place


def on_topic(notarised: Notarised) -> list[bytes]:
    """Every checkpoint, as its topic has it."""
    return [record.value for record in notarised.log.records(CHECKPOINTS)]


def changed(record: Record, **more: object) -> Record:
    return replace(record, **more)  # type: ignore[arg-type]


def run(work: Coroutine[Any, Any, object]) -> None:
    asyncio.run(work)
