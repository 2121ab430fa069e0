"""What a replay reads, to the last place: made once, kept with the replay, so that a run which was interrupted reads the same."""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.errors import RecordsRemoved
from schemas.history import History, Span
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Place, Record
from streams.across import gaps_of
from streams.replay.selection import ACTS, Selection, SpanText

#: records between two spans that are read and passed over, rather than to begin anew behind them
_GAP = 2_000


class Part(BaseModel):
    """Of one topic. `spans` in order, disjoint and not empty; `bytes`: values, keys and headers; when the first and the
    last of them are taken; `ahead`: by place, when a record is taken whose own time is of a clock that was ahead, and `ahead_own`:
    these times, in order, by whose they are (streams.replay.whose)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    spans: tuple[SpanText, ...]
    records: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    earliest: AwareDatetime | None = None
    latest: AwareDatetime | None = None
    ahead: Mapping[str, AwareDatetime] = {}
    ahead_own: Mapping[str, tuple[AwareDatetime, ...]] = {}

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for one, other in pairwise(self.spans):
            if (one.partition, one.end) > (other.partition, other.first):
                raise ValueError(f"{one} and {other} are not in order")
        if any(span.topic != self.topic or not len(span) for span in self.spans):
            raise ValueError("a span of another topic, or an empty one")
        return self


class Plan(BaseModel):
    """`studies`: that the inputs name, sorted. `gone`: what belongs to it and is not on the log any more; of a range of time, what
    the log no longer holds before it. `answers_gone`: of the answers since it begins what nobody has. `seconds_per_analysis`: as
    measured when it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    selection: Selection
    parts: tuple[Part, ...]
    studies: tuple[StudyInstanceUID, ...] = ()
    gone: tuple[SpanText, ...] = ()
    answers_gone: tuple[SpanText, ...] = ()
    #: how many times the model is to be asked, as far as one can tell before: requests, or else studies
    analyses: Annotated[int, Field(ge=0)] = 0
    seconds_per_analysis: Annotated[float, Field(gt=0)] | None = None

    @property
    def records(self) -> int:
        return sum(part.records for part in self.parts)

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def earliest(self) -> datetime | None:
        return min((part.earliest for part in self.parts if part.earliest is not None), default=None)

    @property
    def begins(self) -> datetime | None:
        """Of the inputs that can be answered: a recall of long ago, which comes along with each case, is none."""
        acts = {topic.name for topic in ACTS}
        return min((part.earliest for part in self.parts if part.earliest is not None and part.topic not in acts), default=None)

    @property
    def latest(self) -> datetime | None:
        return max((part.latest for part in self.parts if part.latest is not None), default=None)

    @property
    def ahead_own(self) -> Mapping[str, Sequence[datetime]]:
        """By whose they are."""
        found: dict[str, list[datetime]] = {}
        for part in self.parts:
            for whose, times in part.ahead_own.items():
                found.setdefault(whose, []).extend(times)
        return found

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(span for part in self.parts for span in part.spans)

    @property
    def sha256(self) -> str:
        """Of what is read, when, and where it starts: two plans that read the same have one."""
        ahead = sorted(f"{place} {at.astimezone(UTC).isoformat()}" for part in self.parts for place, at in part.ahead.items())
        told = "\n".join([self.selection.start, *map(str, self.spans), *ahead])
        return hashlib.sha256(told.encode()).hexdigest()

    async def inputs(self, history: History, done: Mapping[tuple[str, int], int] | None = None) -> AsyncGenerator[Record]:
        """All of it in the order of time, each partition in its own order even where its times go backwards: of the first records
        that each has left, the one with the least (timestamp, topic, partition), where the timestamp is that of `Part.ahead`, of
        those that are. The order depends on plan and log alone; with `done`, (topic, partition) -> next offset, it goes on where it
        stood. One record of each partition is held. Raises as `History.records`."""
        ahead = {place: at for part in self.parts for place, at in part.ahead.items()}
        async with AsyncExitStack() as stack:
            heads: list[tuple[datetime, str, int, Record, AsyncGenerator[Record]]] = []
            for (topic, partition), spans in by_partition(self.spans):
                left = _left(spans, (done or {}).get((topic, partition), 0))
                records = await stack.enter_async_context(aclosing(_timed(_records(history, left), ahead)))
                async for record in records:
                    heads.append((record.timestamp, topic, partition, record, records))
                    break
            heapq.heapify(heads)
            while heads:
                _, topic, partition, record, records = heads[0]
                yield record
                following = await anext(records, None)
                if following is None:
                    heapq.heappop(heads)
                else:
                    heapq.heapreplace(heads, (following.timestamp, topic, partition, following, records))


def compressed(places: Iterable[Place]) -> list[Span]:
    """The spans that hold these places and no other, in order; the same place twice is one."""
    spans: list[Span] = []
    for place in sorted(set(places), key=lambda one: (one.topic, one.partition, one.offset)):
        last = spans[-1] if spans else None
        if last is not None and (last.topic, last.partition, last.end) == (place.topic, place.partition, place.offset):
            spans[-1] = Span(last.topic, last.partition, last.first, place.offset + 1)
        else:
            spans.append(Span(place.topic, place.partition, place.offset, place.offset + 1))
    return spans


def expanded(spans: Iterable[Span]) -> Iterator[Place]:
    """Every place of them."""
    for span in spans:
        for offset in range(span.first, span.end):
            yield Place(span.topic, span.partition, offset)


def by_partition(spans: Iterable[Span]) -> Iterator[tuple[tuple[str, int], Sequence[Span]]]:
    """In order."""
    ordered = sorted(spans, key=lambda span: (span.topic, span.partition, span.first))
    for where, own in groupby(ordered, key=lambda span: (span.topic, span.partition)):
        yield where, tuple(own)


def _left(spans: Sequence[Span], offset: int) -> Sequence[Span]:
    cut = (Span(one.topic, one.partition, min(max(one.first, offset), one.end), one.end) for one in spans)
    return tuple(span for span in cut if len(span))


async def _timed(records: AsyncGenerator[Record], ahead: Mapping[str, datetime]) -> AsyncGenerator[Record]:
    async with aclosing(records):
        async for record in records:
            at = ahead.get(str(record.place)) if ahead else None
            yield record if at is None else replace(record, timestamp=at)


async def records_of(history: History, spans: Iterable[Span]) -> AsyncGenerator[Record]:
    """Partition by partition, each in order. Raises as `History.records`."""
    for _, own in by_partition(spans):
        async with aclosing(_records(history, own)) as records:
            async for record in records:
                yield record


async def _records(history: History, spans: Sequence[Span]) -> AsyncGenerator[Record]:
    """Of spans of one partition: those near each other in one go, for to begin anew costs more than what is passed over; but what
    is passed over may be gone."""
    together = deque(_near(spans))
    while together:
        near = together.popleft()
        at = near[0].first
        try:
            async with aclosing(_through(history, near)) as records:
                async for record in records:
                    at = record.place.offset + 1
                    yield record
        except RecordsRemoved:
            left = _left(near, at)
            apart = _split(left, await gaps_of(history, replace(left[0], end=left[-1].end)) if left else ())
            if len(apart) < 2:
                raise
            together.extendleft(reversed(apart))


async def _through(history: History, near: Sequence[Span]) -> AsyncGenerator[Record]:
    wanted = iter(near)
    span = next(wanted)
    records = history.records(replace(span, end=near[-1].end))
    try:
        async for record in records:
            offset = record.place.offset
            while offset >= span.end:
                span = next(wanted)
            if offset >= span.first:
                yield record
    finally:
        if isinstance(records, AsyncGenerator):
            await records.aclose()


def _split(spans: Sequence[Span], gaps: Sequence[Span]) -> list[list[Span]]:
    """Wherever a gap stands between two."""
    found: list[list[Span]] = []
    for span in spans:
        last = found[-1][-1] if found else None
        if last is None or any(gap.first < span.first and last.end < gap.end for gap in gaps):
            found.append([])
        found[-1].append(span)
    return found


def _near(spans: Sequence[Span]) -> Iterator[list[Span]]:
    near: list[Span] = []
    for span in spans:
        if near and span.first - near[-1].end > _GAP:
            yield near
            near = []
        near.append(span)
    if near:
        yield near
