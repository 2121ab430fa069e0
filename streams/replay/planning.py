"""From what is selected to the exact places that a replay reads. Everything that is counted is read: a dry run says what is so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from schemas.case_store import Traced, Traces
from schemas.discrepancies import DiscrepancyAcknowledged
from schemas.errors import MalformedMessage, RecordsRemoved
from schemas.history import History, Span
from schemas.hl7v2.admission import type_of
from schemas.hl7v2.header import Header
from schemas.identifiers import StudyInstanceUID
from schemas.model_events import ModelRecalled
from schemas.ports import Place, Record
from streams import topics
from streams.dead_letters.letters import RESENT_FROM
from streams.replay.ahead import Ahead
from streams.replay.following import Following, Seen, cases_of
from streams.replay.gaps import parted
from streams.replay.plan import Part, Plan, compressed, records_of
from streams.replay.selection import ACTS, Selection
from streams.replay.whose import OF_STUDIES, whose
from streams.topics import Topic

#: acts of people that a replay does again; whatever else is on their topics are acts that it does not know of, or its own outcome
_DONE_AGAIN = {ModelRecalled.TYPE, DiscrepancyAcknowledged.TYPE}
_REQUESTS = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)
_EVENTS = (topics.ORDERS, topics.REPORTS, topics.PATIENTS)
_TOLD = frozenset(topic.name for topic in _EVENTS)
_ACTS = frozenset(topic.name for topic in ACTS)

Wanted = Callable[[Record], bool]


async def planned(
    selection: Selection,
    history: History,
    kept: Traces | None = None,
    *,
    seen: Seen = lambda _: None,
    default_charset: str = "ASCII",
    now: datetime | None = None,
) -> Plan:
    """`kept`: the projection, if there is one. `seen`: told of records as they are read. `default_charset` (table 0211): of
    messages without MSH-18. `now`: what is later is of a clock that was ahead. Raises RecordsRemoved when places were selected that
    are gone (of what is selected otherwise, `Plan.gone` tells it), StoreUnavailable, and as `History.records`."""
    match selection.kind:
        case "places":
            spans, gone = await _there(selection, history), list[Span]()
        case "cases":
            spans, gone = await _of_cases(selection, history, Following(history, kept, seen))
        case "messages" | "time":
            spans, gone = await _of_range(selection, history)
    wanted = _wanted(selection, default_charset)
    parts, studies, ahead = [], set[StudyInstanceUID](), Ahead(now)
    for topic in _read(selection):
        counted = _Counted(topic.name)
        own = [span for span in spans if span.topic == topic.name]
        async with aclosing(records_of(history, own)) as records:
            async for record in records:
                seen(1)
                if wanted(record):
                    counted.add(record)
                    ahead.add(record.place, record.timestamp, partial(whose, record, default_charset))
        if counted.records:
            parts.append(counted.part())
            studies |= counted.studies
    edges = ahead.edges()
    parts = [_with(part, ahead, edges[part.topic]) for part in parts]
    asked = sum(part.records for part in parts if part.topic in {topic.name for topic in _REQUESTS})
    analyses = asked if selection.start == "analyse" else len(studies)
    return Plan(selection=selection, parts=tuple(parts), studies=tuple(sorted(studies)), gone=tuple(gone), analyses=analyses)


def _with(part: Part, ahead: Ahead, edges: tuple[datetime, datetime]) -> Part:
    taken = {place: at for place, at in ahead.times().items() if place.startswith(f"{part.topic}/")}
    said = ahead.own_times(part.topic)
    return part.model_copy(update={"ahead": taken, "ahead_own": said, "earliest": edges[0], "latest": edges[1]})


def _read(selection: Selection) -> tuple[Topic, ...]:
    """The inputs; and where messages are read the events that somebody sent again, for a corrected one is made of no message."""
    again = selection.start == "normalise" and selection.kind in ("cases", "time")
    return (*selection.inputs, *_EVENTS) if again else selection.inputs


async def _there(selection: Selection, history: History) -> list[Span]:
    """The places that were given. Raises RecordsRemoved."""
    for span in selection.places:
        held = next((one for one in await history.spans(span.topic) if one.partition == span.partition), None)
        if held is None:
            raise RecordsRemoved("replay", str(span), f"{span.topic} has no partition {span.partition}")
        if span.first < held.first or span.end > held.end:
            first, end = max(span.first, held.first), min(span.end, held.end)
            left = f"of these {Span(span.topic, span.partition, first, end)} is left" if first < end else "none of these is left"
            raise RecordsRemoved("replay", str(span), f"the log holds {held}: {left}")
    there, gone = await parted(history, selection.places)
    if gone:
        left = f"of what was asked for {', '.join(map(str, there))} is left" if there else "none of these is left"
        raise RecordsRemoved("replay", ", ".join(map(str, gone)), f"neither log nor archive has it: {left}")
    return sorted(selection.places, key=lambda span: (span.topic, span.partition, span.first))


async def _of_range(selection: Selection, history: History) -> tuple[list[Span], list[Span]]:
    """In each partition one stretch, and what the log does not hold any more before it."""
    spans, gone = [], []
    for topic in _read(selection):
        held = await history.spans(topic.name)
        begins = held if selection.since is None else await history.since(topic.name, selection.since)
        ends = (
            {}
            if selection.until is None
            else {one.partition: one.first for one in await history.since(topic.name, selection.until)}
        )
        for had, begin in zip(held, begins, strict=True):
            end = min(ends.get(had.partition, had.end), had.end)  # what came while we looked is not selected
            if begin.first < end:
                there, lost = await parted(history, [Span(topic.name, had.partition, begin.first, end)])
                spans += there
                gone += lost if topic in selection.inputs else []
            if had.first and begin.first <= had.first and topic in selection.inputs:
                gone.append(Span(topic.name, had.partition, 0, had.first))
    return spans, gone


async def _of_cases(selection: Selection, history: History, following: Following) -> tuple[list[Span], list[Span]]:
    records = await cases_of(selection, following)
    wanted = compressed(_places(records, {topic.name for topic in _read(selection)}))
    spans, gone = [], []
    for topic in _read(selection):
        for held in await history.spans(topic.name):
            own = [span for span in wanted if (span.topic, span.partition) == (held.topic, held.partition)]
            if topic is topics.MODELS and len(held):  # a recall is of no case: each may be of this one
                own.append(held)
            begun = []
            for span in own:
                edge = min(max(span.first, held.first), span.end)
                lost = Span(span.topic, span.partition, span.first, edge)
                gone += [lost] if len(lost) and topic in selection.inputs else []
                begun += [part] if len(part := Span(span.topic, span.partition, edge, span.end)) else []
            there, lacking = await parted(history, begun)
            spans += there
            gone += lacking if topic in selection.inputs else []
    inputs = {topic.name for topic in selection.inputs}
    return spans, [*gone, *(span for span in following.gone if span.topic in inputs)]


def _places(records: Iterable[Traced], inputs: set[str]) -> Iterable[Place]:
    """Of the inputs: the records themselves, and the messages that they came from. Of discrepancies the acts alone."""
    for one in records:
        if one.place.topic in inputs and (one.place.topic not in _ACTS or one.type in _DONE_AGAIN):
            yield one.place
        if one.place.topic in _TOLD and one.cause is not None and one.cause.topic in inputs:
            yield one.cause


def _wanted(selection: Selection, default_charset: str) -> Wanted:
    """Of what lies in the spans."""
    if selection.kind == "places":
        return lambda _: True
    if selection.kind == "messages":
        return lambda record: _is_of(record, selection, default_charset)
    inputs = {topic.name for topic in selection.inputs}

    def wanted(record: Record) -> bool:
        if record.place.topic not in inputs:
            return record.header(RESENT_FROM) is not None
        return record.place.topic not in _ACTS or record.header("ce_type") in _DONE_AGAIN

    return wanted


def _is_of(record: Record, selection: Selection, default_charset: str) -> bool:
    """Sender by the key, type by MSH-9; what has no readable MSH is of no type."""
    if selection.senders and (record.key or b"").decode("utf-8", "replace") not in selection.senders:
        return False
    if not selection.message_types:
        return True
    try:
        kind = type_of(Header.read(record.value, record.header("charset") or default_charset))
    except MalformedMessage:
        return False
    return kind in selection.message_types or kind.partition("^")[0] in selection.message_types


@dataclass(slots=True)
class _Counted:
    """Records of one topic, partition by partition in order."""

    topic: str
    spans: list[Span] = field(default_factory=list)
    studies: set[StudyInstanceUID] = field(default_factory=set)
    records: int = 0
    bytes: int = 0

    def add(self, record: Record) -> None:
        self.records += 1
        self.bytes += len(record.value) + len(record.key or b"") + sum(len(name) + len(value) for name, value in record.headers)
        partition, offset = record.place.partition, record.place.offset
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.partition, last.end) == (partition, offset):
            self.spans[-1] = Span(self.topic, partition, last.first, offset + 1)
        else:
            self.spans.append(Span(self.topic, partition, offset, offset + 1))
        if self.topic in OF_STUDIES:
            with suppress(ValueError):  # a dead letter of the step that reads it
                self.studies.add(StudyInstanceUID((record.key or b"").decode("ascii")))

    def part(self) -> Part:
        return Part(
            topic=self.topic,
            spans=tuple(self.spans),
            records=self.records,
            bytes=self.bytes,
        )
