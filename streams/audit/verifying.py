"""Whether the log is what was signed: every chain is computed anew, from one checkpoint to the next."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from schemas.errors import InvalidResource, RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.ports import Record
from streams.audit.chain import Chain, linked
from streams.audit.chains import breaks, chains
from streams.audit.faults import Fault, Kind, Runs, runs, told
from streams.audit.series import Checkpoint, Series

Tell = Callable[[int], None]


async def no_holes(_: Span) -> Sequence[Span]:
    """Of a log: between its beginning and its end it has everything."""
    return ()


async def nothing_kept(_: str) -> Sequence[Span]:
    """Of a log alone."""
    return ()


@dataclass(frozen=True, slots=True)
class Copy:
    """What is verified. `holes`: parts of a span that it lacks, by offset; `whole`: topics that must be there from the first record
    that was signed, because no retention takes anything from it; `behind`: the copy that has what this one has lost at its
    beginning, for between two checkpoints nothing can be verified without all of it; `kept`: of a topic what is archived, parts
    without gaps."""

    history: History
    holes: Callable[[Span], Awaitable[Sequence[Span]]] = no_holes
    whole: Collection[str] = ()
    behind: Copy | None = None
    kept: Callable[[str], Awaitable[Sequence[Span]]] = nothing_kept


@dataclass(frozen=True, slots=True)
class Proven:
    """How far one chain of a partition was verified: records from `first` up to `end`, and not with it, between checkpoints
    `after` (0: the beginning) and `upto`. `removed`: so many offsets of its beginning are gone, by retention or not; `unproven`: so
    many are there before `first`, and no checkpoint tells what stood right before them. `copy`: which one, where broker and
    archive differ."""

    topic: str
    partition: int
    first: int
    end: int
    after: int
    upto: int
    removed: int = 0
    unproven: int = 0
    copy: str = ""

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(slots=True)
class Verified:
    proven: list[Proven] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


async def verify_records(copy: Copy, series: Series, tell: Tell = lambda _: None) -> Verified:
    """All partitions of the series of one key. `tell`: how many offsets are done. Raises BrokerUnavailable,
    ObjectStoreUnavailable."""
    verified, done = Verified(), 0
    for topic, of_topic in groupby(sorted(chains(series).items()), key=lambda one: one[0][0]):
        spans = await _spans(copy.history, topic)
        for (_, partition), of_partition in of_topic:
            verified.faults += breaks(of_partition)
            span = spans.get(partition, Span(topic, partition, 0, 0))
            for chain in of_partition:
                proven, faults = await _Partition(copy, chain, partial(_further, tell, done)).verified(span)
                verified.proven.append(proven)
                verified.faults += faults
                done += chain[-1].end - chain[0].first
    return verified


async def _spans(history: History, topic: str) -> dict[int, Span]:
    try:
        return {span.partition: span for span in await history.spans(topic)}
    except TopicMissing:
        return {}  # all that was signed of it is gone


def _further(tell: Tell, before: int, more: int) -> None:
    tell(before + more)


_GONE = "were signed, and neither the log nor its archive has them"


@dataclass(frozen=True, slots=True)
class _Block:
    """The records between two checkpoints: from what is believed (`begin`, of checkpoint `after`) to what was signed."""

    begin: Chain
    after: int
    signed: Checkpoint

    @property
    def end(self) -> int:
        return self.signed.end

    @property
    def between(self) -> tuple[int, int]:
        return self.after, self.signed.number


class _Found:
    """What the log has of a block."""

    def __init__(self, begin: Chain) -> None:
        self.head, self.records, self.offsets = begin.head, begin.records, set[int]()

    def add(self, record: Record) -> None:
        self.head = linked(self.head, record)
        self.records += 1
        self.offsets.add(record.place.offset)


class _Partition:
    """One chain over its partition. A fault in one block hides none behind it: each begins with what is signed."""

    def __init__(self, copy: Copy, chain: Sequence[Checkpoint], tell: Tell) -> None:
        self._copy, self._history, self._chain, self._tell = copy, copy.history, chain, tell
        self._topic, self._partition = chain[0].topic, chain[0].partition
        self._place = f"{self._topic}/{self._partition}"
        self._faults: list[Fault] = []

    async def verified(self, span: Span) -> tuple[Proven, list[Fault]]:
        """`span`: what there is now."""
        start, after, blocks = self._blocks(await self._begin(span))
        whole = [block for block in blocks if block.end <= span.end]
        parts = await self._parts(whole)
        while parts:
            waiting = parts.popleft()
            try:
                await self._read(waiting)
            except (InvalidResource, RecordsRemoved) as error:
                now = await self._span()
                if now.first > span.first:  # retention, while it was read
                    self._faults.clear()
                    return await self.verified(now)
                block = waiting.popleft()
                if waiting:  # what cannot be read may lie behind the block
                    parts.extendleft((waiting, deque((block,))))
                else:
                    self._faults.append(self._fault("unreadable", error.reason, block))
        if len(whole) < len(blocks):
            self._faults.append(self._removed(span, blocks[len(whole) :]))
        end, upto = (whole[-1].end, whole[-1].signed.number) if whole else (start, after)
        begun = self._chain[0].first
        removed, unproven = max(0, min(span.first, end) - begun), max(0, min(start, span.end) - max(span.first, begun))
        if removed and self._topic in self._copy.whole:
            lost = (begun, begun + removed - 1)
            self._faults.append(Fault("gone", self._place, _GONE, begun, begun + removed, (0, after), (lost,)))
        first = max(start, min(span.first, end))
        proven = Proven(self._topic, self._partition, first, end, after, upto, removed, unproven)
        return proven, sorted(self._faults, key=lambda fault: fault.first or 0)

    async def _parts(self, blocks: Sequence[_Block]) -> deque[deque[_Block]]:
        """What can be read at a time: nothing across a hole. Only the blocks in which one lies suffer by it."""
        if not blocks:
            return deque()
        span = Span(self._topic, self._partition, blocks[0].begin.end, blocks[-1].end)
        parts, holes = [deque[_Block]()], deque(await self._copy.holes(span))
        for block in blocks:
            while holes and holes[0].end <= block.begin.end:
                holes.popleft()
            lost = [(max(one.first, block.begin.end), min(one.end, block.end) - 1) for one in holes if one.first < block.end]
            if lost:
                self._faults.append(self._fault("gone", _GONE, block, tuple(lost)))
                parts.append(deque())
            else:
                parts[-1].append(block)
        return deque(filter(None, parts))

    async def _begin(self, span: Span) -> int:
        """From where on there is everything: together with the copy behind it, from the last checkpoint before `span`."""
        ends = [self._chain[0].first, *(one.end for one in self._chain)]
        before = max((end for end in ends if end <= span.first), default=span.first)
        if self._copy.behind is None or not len(span) or before == span.first:
            return span.first
        lacking = Span(self._topic, self._partition, before, span.first)
        return span.first if await self._copy.behind.holes(lacking) else before

    def _blocks(self, first: int) -> tuple[int, int, list[_Block]]:
        """From the beginning, or from the first checkpoint behind which nothing is gone: its offset, number, and what follows."""
        begun = Chain(self._chain[0].first, self._chain[0].first)
        begins = [(begun, 0), *((one.chain, one.number) for one in self._chain)]
        index = next((at for at, (begin, _) in enumerate(begins) if begin.end >= first), len(self._chain))
        blocks = [_Block(*begin, signed) for begin, signed in zip(begins[index:], self._chain[index:], strict=False)]
        return begins[index][0].end, begins[index][1], blocks

    async def _span(self) -> Span:
        spans = await self._history.spans(self._topic)
        return next(one for one in spans if one.partition == self._partition)

    async def _read(self, waiting: deque[_Block]) -> None:
        """Takes out what it has judged. Raises as `History.records`: then the first that waits is the one that cannot be read."""
        found = _Found(waiting[0].begin)
        span = Span(self._topic, self._partition, waiting[0].begin.end, waiting[-1].end)
        async for record in self._records(span):
            while len(waiting) > 1 and record.place.offset >= waiting[0].end:
                self._judge(waiting.popleft(), found)
                found = _Found(waiting[0].begin)
            found.add(record)
        while waiting:
            self._judge(waiting.popleft(), found)
            found = _Found(waiting[0].begin) if waiting else found

    async def _records(self, span: Span) -> AsyncIterator[Record]:
        """With those of the copy behind it, for what this one has lost."""
        held = await self._span() if self._copy.behind is not None else span
        first = min(max(held.first, span.first), span.end)
        if self._copy.behind is not None and first > span.first:
            async for record in self._copy.behind.history.records(replace(span, end=first)):
                yield record
        async for record in self._history.records(replace(span, first=first)):
            yield record

    def _judge(self, block: _Block, found: _Found) -> None:
        self._tell(block.end - self._chain[0].first)
        if found.head == block.signed.head:
            return
        absent = [offset for offset in range(block.begin.end, block.end) if offset not in found.offsets]
        short = block.signed.records - found.records
        if short <= 0:
            said = f"{-short} records were put in" if short else "records are not what was signed"
            self._faults.append(self._fault("changed", said, block))
            return
        said = "records were removed"
        if short != len(absent):  # offsets that never had a record: marks of transactions
            said = f"{short} records were removed, at some of the offsets that are missing"
        self._faults.append(self._fault("changed", said, block, runs(absent)))

    def _removed(self, span: Span, blocks: Sequence[_Block]) -> Fault:
        """What is left of the first of the blocks cannot be verified without the rest: it is of the place too."""
        begin, end = blocks[0].begin.end, blocks[-1].end
        first = max(span.end, begin)
        said = f"the log ends at {span.end}, and records up to {end - 1} were signed"
        if first > begin:
            said += f"; without them {told(((begin, first - 1),))} cannot be verified"
        return Fault("removed", self._place, said, begin, end, (blocks[0].after, blocks[-1].signed.number), ((first, end - 1),))

    def _fault(self, kind: Kind, said: str, block: _Block, missing: Runs = ()) -> Fault:
        return Fault(kind, self._place, said, block.begin.end, block.end, block.between, missing)
