"""Spans beside the gaps of an archive: what of them is there, and what nobody has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from schemas.history import History, Span
from streams.across import gaps_of
from streams.replay.plan import by_partition


async def parted(history: History, spans: Iterable[Span]) -> tuple[list[Span], list[Span]]:
    """Both by topic, partition and offset. Raises as `History.spans`."""
    there, gone = list[Span](), list[Span]()
    for _, own in by_partition(spans):
        gaps = await gaps_of(history, replace(own[0], end=own[-1].end))
        for span in own:
            kept, lost = _cut(span, gaps)
            there += kept
            gone += lost
    return there, gone


def _cut(span: Span, gaps: Sequence[Span]) -> tuple[list[Span], list[Span]]:
    """`gaps`: in order."""
    kept, lost, at = list[Span](), list[Span](), span.first
    for gap in gaps:
        first, end = max(gap.first, at), min(gap.end, span.end)
        if first < end:
            lost.append(replace(span, first=first, end=end))
            kept += [replace(span, first=at, end=first)] if at < first else []
            at = end
    kept += [replace(span, first=at)] if at < span.end else []
    return kept, lost
