"""Which segment gives which offsets, where several have one: the same for every reader, wherever it begins. So what `audit verify`
has read is what everybody reads, and a segment that somebody put between others is either found by it or read by nobody."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence

from schemas.history import Span
from streams.segments.names import SegmentName

#: a segment, and what is read of it
Piece = tuple[SegmentName, Span]
#: likewise; None: the log
Part = tuple[SegmentName | None, Span]


def divided(names: Iterable[SegmentName]) -> list[Piece]:
    """All segments of a partition, by first offset: each is read to its end, then the one that goes furthest of those that begin
    not behind it."""
    pieces: list[Piece] = []
    waiting, best, at = deque(names), None, 0
    while True:
        while waiting and waiting[0].first <= at:
            name = waiting.popleft()
            best = name if best is None or name.end > best.end else best
        if best is not None and best.end > at:
            pieces.append((best, Span(best.topic, best.partition, at, best.end)))
            at = best.end
        elif waiting:
            at = waiting[0].first
        else:
            return pieces


def cut(pieces: Sequence[Piece], span: Span) -> list[Part]:
    """`span` as it is read, in order and without a gap: what no piece has is the log's."""
    parts: list[Part] = []
    at = span.first
    for number in range(bisect_right(pieces, at, key=lambda piece: piece[1].end), len(pieces)):
        name, held = pieces[number]
        if held.first >= span.end:
            break
        if held.first > at:
            parts.append((None, Span(span.topic, span.partition, at, held.first)))
        first, at = max(at, held.first), min(held.end, span.end)
        parts.append((name, Span(span.topic, span.partition, first, at)))
    if at < span.end:
        parts.append((None, Span(span.topic, span.partition, at, span.end)))
    return parts
