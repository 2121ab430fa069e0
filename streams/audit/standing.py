"""Where the notary goes on after a start: behind the last checkpoint that topic and file both know."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256

from schemas.checkpoints import CheckpointSigned
from schemas.errors import Refused
from schemas.history import History
from streams import topics
from streams.audit.chain import Chain
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.faults import Fault
from streams.audit.series import NONE_BEFORE, Entry, Joined, joined, read_source
from streams.audit.signing import Signer, value_of


class CheckpointsDisagree(Refused):
    """Topic and file are not one series: going on would hide what happened to them."""


@dataclass(slots=True)
class Standing:
    """Number and digest of the last checkpoint, and the chain of each partition."""

    number: int
    digest: str
    chains: dict[tuple[str, int], Chain]

    def add(self, signed: CheckpointSigned) -> None:
        """What is signed next follows it."""
        self.number, self.digest = signed.number, sha256(value_of(signed)).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """`next_offset`: where our next checkpoint should stand; `mixed`: others write to the topic too."""

    standing: Standing
    next_offset: int
    mixed: bool


async def begin(history: History, file: CheckpointFile, signer: Signer) -> Begun:
    """What the notary had written to the topic and not to the file when it ended is written to the file now. Raises
    CheckpointsDisagree, BrokerUnavailable, StoreUnavailable."""
    (span,) = await history.spans(topics.CHECKPOINTS.name)
    records = [record async for record in history.records(span)]
    lines, torn = await asyncio.to_thread(file.read)
    topic = read_source(topics.CHECKPOINTS.name, (Entry(str(one.place), one.value, one.key) for one in records), signer.keys)
    in_file = read_source(str(file.path), entries_of(str(file.path), lines), signer.keys, repeats=False)
    both = joined(topic, in_file, signer.name)
    _agree([*in_file.faults, *in_file.disorder, *topic.disorder, *both.faults, *unfinished(both, str(file.path), torn)], file)
    if both.behind:
        await asyncio.to_thread(file.append, [one.value for one in both.behind])
    return Begun(_standing(both), span.end, signer.name in topic.mixed)


def entries_of(name: str, lines: list[bytes]) -> list[Entry]:
    return [Entry(f"{name}:{number}", line) for number, line in enumerate(lines, start=1)]


def unfinished(both: Joined, name: str, torn: bytes) -> list[Fault]:
    """A last line that is not whole must be the beginning of what the topic has next."""
    if not torn or (both.behind and both.behind[0].value.startswith(torn)):
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
    standing = Standing(0, NONE_BEFORE, {})
    for number in sorted(both.series):
        one = both.series[number].checkpoint
        standing.chains[one.topic, one.partition] = Chain(one.first, one.end, one.records, bytes.fromhex(one.chain))
        standing.add(one)
    return standing
