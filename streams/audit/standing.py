"""Where the notary goes on after a start: behind the last checkpoint that topic and file both know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

from schemas.errors import Refused
from schemas.history import History, Span
from schemas.ports import Record
from streams import topics
from streams.audit.chain import Chain
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.faults import Fault
from streams.audit.series import NONE_BEFORE, Checkpoint, Entry, Joined, Source, joined, read_source
from streams.audit.signing import Signer

#: a partition is signed for again, new or not, when so many other checkpoints have come since: so the last few tell of every one
AGAIN_AFTER = 500
#: checkpoints that are read at a start, of each topic and file
TAIL = 2_000
#: bytes of a line, at most
_LINE = 1_000
#: records that are taken from the topic at a time
_LOT = 1_000


class CheckpointsDisagree(Refused):
    """Topic and file are not one series: going on would hide what happened to them."""


@dataclass(slots=True)
class Standing:
    """Number and digest of the last checkpoint; the chain of each partition, and the number of its last checkpoint."""

    number: int = 0
    digest: str = NONE_BEFORE
    chains: dict[tuple[str, int], Chain] = field(default_factory=dict)
    numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, one: Checkpoint) -> None:
        """What is signed next follows it."""
        self.number, self.digest = one.number, one.digest.hex()
        self.chains[one.topic, one.partition] = one.chain
        self.numbers[one.topic, one.partition] = one.number

    def old(self) -> list[tuple[str, int]]:
        """Partitions with so many signed since their last that they are signed for again."""
        return [partition for partition, number in self.numbers.items() if self.number - number >= AGAIN_AFTER]


@dataclass(frozen=True, slots=True)
class Begun:
    """`next_offset`: where our next checkpoint should stand; `mixed`: others write to the topic too."""

    standing: Standing
    next_offset: int
    mixed: bool


async def begin(history: History, file: CheckpointFile, signer: Signer, *, tail: int = TAIL) -> Begun:
    """What the notary had written to the topic and not to the file when it ended is written to the file now. Only the last `tail`
    checkpoints are read where those of topic and file agree. Raises CheckpointsDisagree, BrokerUnavailable, StoreUnavailable."""
    read = await _read(history, file, signer, tail)
    if read is None or read.faults:
        read = await _read(history, file, signer, None)
    assert read is not None
    _agree(read.faults, file)
    if read.both.behind:
        await asyncio.to_thread(file.append, read.both.values)
    return Begun(_standing(read.both), read.next_offset, read.mixed)


@dataclass(frozen=True, slots=True)
class _Read:
    both: Joined
    faults: list[Fault]
    next_offset: int
    mixed: bool


async def _read(history: History, file: CheckpointFile, signer: Signer, tail: int | None) -> _Read | None:
    """The last `tail` of both, or all; None when those are too few to know where every partition stands."""
    (span,) = await history.spans(topics.CHECKPOINTS.name)
    first = span.first if tail is None else max(span.first, span.end - tail)
    topic, lot = Source(span.topic), list[Record]()
    async for record in history.records(Span(span.topic, span.partition, first, span.end)):
        lot.append(record)
        if len(lot) == _LOT:
            await asyncio.to_thread(_take, topic, lot, signer)
            lot = []
    await asyncio.to_thread(_take, topic, lot, signer)
    lines, torn, whole = await asyncio.to_thread(file.read, None if tail is None else tail * _LINE)
    return await asyncio.to_thread(_compared, topic, lines, torn, first == span.first and whole, file.path, signer, span.end)


def _take(topic: Source, records: Sequence[Record], signer: Signer) -> None:
    """Signatures take their time: not in the event loop."""
    for record in records:
        topic.add(entry_of(record), signer.keys)


def _compared(
    topic: Source, lines: list[bytes], torn: bytes, all_of_both: bool, path: Path, signer: Signer, end: int
) -> _Read | None:
    in_file = read_source(str(path), entries_of(str(path), lines), signer.keys, repeats=False, beside=topic)
    since = 1
    if not all_of_both:
        on_topic, on_file = topic.of(signer.name), in_file.of(signer.name)
        if not on_topic or not on_file:
            return None
        since = max(min(on_topic), min(on_file))
        if since > 1 and max(on_topic) - since < 2 * AGAIN_AFTER:
            return None
    both = joined(topic, in_file, signer.name, since=since)
    faults = [*in_file.faults, *in_file.disorder, *topic.disorder, *both.faults, *unfinished(both, str(path), torn)]
    return _Read(both, faults, end, signer.name in topic.mixed)


def entry_of(record: Record) -> Entry:
    return Entry(intern(f"{record.place.topic}/{record.place.partition}/"), record.place.offset, record.value, record.key)


def entries_of(name: str, lines: Iterable[bytes]) -> Iterator[Entry]:
    where = f"{name}:"
    for number, line in enumerate(lines, start=1):
        yield Entry(where, number, line)


def unfinished(both: Joined, name: str, torn: bytes) -> list[Fault]:
    """A last line that is not whole must be the beginning of what the topic has next."""
    if not torn or (both.values and both.values[0].startswith(torn)):
        return []
    return [Fault("checkpoint", name, "its last line is not whole, and not the beginning of the next checkpoint on the topic")]


def _agree(faults: list[Fault], file: CheckpointFile) -> None:
    if not faults:
        return
    said = (
        f"{faults[0].line()}. Nothing is signed until a person has looked: `radstream audit verify` tells more. If the file was "
        "lost, bring it back from its copy. If this is another Kafka, or the file cannot be mended, move it and both keys away "
        "(keep them): a new series begins under a new key"
    )
    raise CheckpointsDisagree("notary", str(file.path), said)


def _standing(both: Joined) -> Standing:
    standing = Standing()
    for number in sorted(both.series):
        standing.add(both.series[number].checkpoint)
    return standing
