"""The topics as they stand, with what the archive keeps of them: `schemas.history.History`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from schemas.errors import RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.ports import ObjectStore, Record
from streams.segments.names import SegmentName, archived, ceiling, covering
from streams.segments.segment import Segment

#: files kept in memory: who reads single records asks for the same one again and again
_KEPT = 4

#: a segment, or None: the log; and what is read there
_Piece = tuple[SegmentName | None, Span]


class ArchivedHistory:
    """What is archived is read in the archive, also where the log still has it; the rest on the log. Offsets that neither has are
    never stepped over: who reads across them is told."""

    def __init__(self, objects: ObjectStore, live: History) -> None:
        self._objects = objects
        self._live = live
        self._names: dict[str, dict[int, list[SegmentName]]] = {}
        self._segments: OrderedDict[SegmentName, Segment] = OrderedDict()

    async def spans(self, topic: str) -> Sequence[Span]:
        """See `History.spans`: from the oldest archived offset; a topic that only the archive has is whole as it is there. Raises
        ObjectStoreUnavailable, AccessRefused too."""
        kept = await self._listed(topic)
        live = await self._on_the_log(topic, kept)
        found = []
        for partition in sorted({*kept, *live}):
            names, span = kept.get(partition, []), live.get(partition)
            firsts, ends = [one.first for one in names], [one.end for one in names]
            if span is not None:
                firsts, ends = [*firsts, span.first], [*ends, span.end]
            found.append(Span(topic, partition, min(firsts), max(ends)))
        return found

    async def since(self, topic: str, moment: datetime) -> Sequence[Span]:
        """See `History.since`. Raises as `spans`; InvalidResource."""
        spans = await self.spans(topic)
        try:
            live = {one.partition: one for one in await self._live.since(topic, moment)}
        except TopicMissing:
            live = {}
        found = []
        for span in spans:
            first = await self._archived_since(topic, span.partition, moment)
            later = live.get(span.partition)
            firsts = [span.end if first is None else first, *([later.first] if later and len(later) else [])]
            found.append(Span(topic, span.partition, min(firsts), span.end))
        return found

    async def records(self, span: Span) -> AsyncIterator[Record]:
        """See `History.records`. Raises AccessRefused too."""
        for name, piece in await self._pieces(span):
            if name is not None:
                for record in (await self._segment(name)).records(piece.first, piece.end):
                    yield record
                continue
            at = piece.first
            try:
                async for record in self._live.records(piece):
                    at = record.place.offset + 1
                    yield record
            except RecordsRemoved:  # retention was at work since we looked; the archive may have them by now
                if covering((await self._listed(span.topic)).get(span.partition, []), at) is None:
                    raise
                async for record in self.records(Span(span.topic, span.partition, at, piece.end)):
                    yield record

    async def _pieces(self, span: Span) -> list[_Piece]:
        """Where each part is read. Raises RecordsRemoved when nobody has one of them."""
        if not len(span):
            return []
        if span.topic not in self._names:
            await self._listed(span.topic)
        pieces = self._divided(span, self._names[span.topic])
        if all(name is not None for name, _ in pieces):
            return pieces
        pieces = self._divided(span, await self._listed(span.topic))  # something may have been archived since
        live = (await self._on_the_log(span.topic, self._names[span.topic])).get(span.partition)
        for name, piece in pieces:
            if name is None and (live is None or piece.first < live.first or piece.end > live.end):
                said = f"no segment holds {piece}, and the log holds {live or 'nothing of it'}"
                raise RecordsRemoved("history", str(span), said)
        return pieces

    def _divided(self, span: Span, kept: dict[int, list[SegmentName]]) -> list[_Piece]:
        names = kept.get(span.partition, [])
        pieces: list[_Piece] = []
        at = span.first
        while at < span.end:
            name = covering(names, at)
            end = min([span.end, *([name.end] if name else [one.first for one in names if one.first > at])])
            pieces.append((name, Span(span.topic, span.partition, at, end)))
            at = end
        return pieces

    async def _listed(self, topic: str) -> dict[int, list[SegmentName]]:
        self._names[topic] = await archived(self._objects, topic)
        return self._names[topic]

    async def _on_the_log(self, topic: str, kept: dict[int, list[SegmentName]]) -> dict[int, Span]:
        """Raises BrokerUnavailable; not for want of a topic that the archive has."""
        try:
            return {one.partition: one for one in await self._live.spans(topic)}
        except TopicMissing:
            if not kept:
                raise
            return {}

    async def _archived_since(self, topic: str, partition: int, moment: datetime) -> int | None:
        for name in self._names[topic].get(partition, []):
            if name.latest >= ceiling(moment):
                return (await self._segment(name)).since(moment)
        return None

    async def _segment(self, name: SegmentName) -> Segment:
        """Raises RecordsRemoved when it was taken away."""
        if name in self._segments:
            self._segments.move_to_end(name)
            return self._segments[name]
        file = await self._objects.get(str(name))
        if file is None:
            raise RecordsRemoved("history", str(name), "this segment was taken out of the object store")
        segment = self._segments[name] = Segment(name, file)
        while len(self._segments) > _KEPT:
            self._segments.popitem(last=False)
        return segment
