"""For readers across a gap: an archive may lack records that retention took before they were archived, and all others are read as
ever (docs/segments.md). What is not there is told, and never stepped over in silence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol, runtime_checkable

from schemas.history import History, Span
from schemas.ports import Record


@runtime_checkable
class Gapped(Protocol):
    """A History that knows what of a span nobody has, as `ArchivedHistory.holes`; a log alone has no gaps."""

    async def holes(self, span: Span) -> Sequence[Span]: ...


async def gaps_of(history: History, span: Span) -> Sequence[Span]:
    """What of the span neither log nor archive has, by offset. Raises as `History.spans`."""
    return await history.holes(span) if isinstance(history, Gapped) else ()


async def across_gaps(history: History, span: Span, tell: Callable[[Span], None]) -> AsyncGenerator[Record]:
    """Its records; `tell` hears of each gap before what stands behind it is given. Raises as `History.records`: RecordsRemoved only
    for what has gone meanwhile."""
    at = span.first
    for gap in await gaps_of(history, span):
        async for record in _read(history, replace(span, first=at, end=gap.first)):
            yield record
        tell(gap)
        at = gap.end
    async for record in _read(history, replace(span, first=at)):
        yield record


async def _read(history: History, span: Span) -> AsyncGenerator[Record]:
    """Closed when it is left: a History may hold a connection as long."""
    records = history.records(span)
    if not isinstance(records, AsyncGenerator):
        async for record in records:
            yield record
        return
    async with aclosing(records):
        async for record in records:
            yield record
