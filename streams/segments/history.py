"""The topics as they stand, with what the archive keeps of them: `schemas.history.History`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from schemas.errors import RecordsRemoved, TopicMissing
from schemas.history import History, Span
from schemas.moments import ceiling
from schemas.ports import ObjectStore, Record
from streams.segments.division import Part, Piece, cut, divided
from streams.segments.names import SegmentName, archived
from streams.segments.segment import Segment

#: files kept in memory: who reads single records asks for the same one again and again
_KEPT = 4


class ArchivedHistory:
    """What is archived is read in the archive, also where the log still has it; the rest on the log. Offsets that neither has are
    never stepped over: who reads across them is told. `topics`: those that are archived; all others are read on the log alone,
    whatever somebody put into the store under their names."""

    def __init__(self, objects: ObjectStore, live: History, topics: Collection[str]) -> None:
        self._objects, self._live, self._topics = objects, live, topics
        self._pieces: dict[str, dict[int, list[Piece]]] = {}
        self._segments: OrderedDict[SegmentName, Segment] = OrderedDict()

    async def spans(self, topic: str) -> Sequence[Span]:
        """See `History.spans`: from the oldest archived offset; a topic that only the archive has is whole as it is there. Raises
        ObjectStoreUnavailable, AccessRefused too."""
        kept, live = await self._both(topic)
        found = []
        for partition in sorted({*kept, *live}):
            parts = [*(span for _, span in kept.get(partition, ())), *([live[partition]] if partition in live else [])]
            found.append(Span(topic, partition, min(one.first for one in parts), max(one.end for one in parts)))
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
        for name, piece in await self._parts(span):
            if name is not None:
                for record in (await self._segment(name)).records(piece.first, piece.end):
                    yield record
                continue
            at = piece.first
            try:
                async for record in self._live.records(piece):
                    at = record.place.offset + 1
                    yield record
            except RecordsRemoved:  # retention was at work; the archive may have them by now
                rest = replace(piece, first=at)
                now = cut((await self._listed(span.topic)).get(span.partition, []), rest)
                if now and now[0][0] is None:
                    raise
                async for record in self.records(rest):
                    yield record

    async def holes(self, span: Span) -> Sequence[Span]:
        """What of it nobody has. Raises as `spans`."""
        if not len(span):
            return []
        kept, live = await self._both(span.topic)
        lacking = []
        for name, piece in cut(kept.get(span.partition, []), span):
            if name is not None:
                continue
            held = live.get(span.partition)
            first, end = (held.first, held.end) if held is not None and len(held) else (piece.end, piece.end)
            before, behind = (piece.first, min(piece.end, first)), (max(piece.first, end), piece.end)
            lacking += [replace(piece, first=one, end=other) for one, other in (before, behind) if one < other]
        return lacking

    async def kept(self, topic: str) -> Sequence[Span]:
        """What is archived of it now, by partition and offset: parts without gaps. Raises ObjectStoreUnavailable, AccessRefused."""
        found: list[Span] = []
        for pieces in (await self._listed(topic)).values():
            for _, piece in pieces:
                if found and (found[-1].partition, found[-1].end) == (piece.partition, piece.first):
                    piece = replace(piece, first=found.pop().first)
                found.append(piece)
        return found

    async def _parts(self, span: Span) -> list[Part]:
        """Where each part is read. Raises RecordsRemoved when nobody has one of them."""
        if not len(span):
            return []
        if span.topic not in self._pieces:
            await self._listed(span.topic)
        parts = cut(self._pieces[span.topic].get(span.partition, []), span)
        if len(parts) == 1:
            return parts  # where the log lacks something of its own part it says so itself, before anything is given
        for listed_now in (False, True):
            if all(name is not None for name, _ in parts):
                break
            live = (await self._both(span.topic))[1].get(span.partition)
            missing = [part for name, part in parts if name is None and not _holds(live, part)]
            if not missing:
                break
            if listed_now:
                said = f"no segment holds {missing[0]}, and the log holds {live or 'nothing of it'}"
                raise RecordsRemoved("history", str(span), said)
            # something may have been archived since
            parts = cut((await self._listed(span.topic)).get(span.partition, []), span)
        return parts

    async def _listed(self, topic: str) -> dict[int, list[Piece]]:
        kept = await archived(self._objects, topic) if topic in self._topics else {}
        self._pieces[topic] = {partition: divided(names) for partition, names in kept.items()}
        return self._pieces[topic]

    async def _both(self, topic: str) -> tuple[dict[int, list[Piece]], dict[int, Span]]:
        """Segments and what the log has, by partition. A list of segments is long and may be far away: it is asked for again only
        when the log does not begin where the last one ended. Raises BrokerUnavailable; TopicMissing when the archive has none of it
        either."""
        try:
            live = {one.partition: one for one in await self._live.spans(topic)}
        except TopicMissing:
            kept = await self._listed(topic)
            if not kept:
                raise
            return kept, {}
        known = self._pieces.get(topic)
        if known is None or any(one.first > (known[n][-1][1].end if n in known else 0) for n, one in live.items()):
            known = await self._listed(topic)
        return known, live

    async def _archived_since(self, topic: str, partition: int, moment: datetime) -> int | None:
        for name, piece in self._pieces[topic].get(partition, []):
            if name.latest >= ceiling(moment):
                first = (await self._segment(name)).since(moment, piece.first)
                if first is not None:
                    return first
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


def _holds(live: Span | None, piece: Span) -> bool:
    return live is not None and live.first <= piece.first and piece.end <= live.end
