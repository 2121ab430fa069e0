"""An order line is what placer and filler order number name together. Which events speak of the same line, and which accession
number a line has now: pure functions of the set of events.

Within one sender the newest word about a line says which accession number it has. But one placer order number may stand for
several lines (filler numbers), and some senders write a constant there; so a line *moves* only when the word is a change (ORC-1
XO, SC ..., not NW) and there is exactly one line of that sender, not cancelled, that it can speak of. A cancelled order stays
where it was cancelled: what comes later under its number is another order. Other senders' words stay as they are: each sender
corrects itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from schemas.case_store import OrderNumber
from schemas.events import OrderChanged, OrderEvent, OrderStatus
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PlacerOrderNumber
from streams.order_of_truth import Rank, by_sender

Line = tuple[PlacerOrderNumber | None, FillerOrderNumber | None]


def line_of(event: OrderEvent) -> Line:
    """The line that the event names; (None, None) when it has an accession number only."""
    return event.placer_order_number, event.filler_order_number


def lines_of(event: OrderEvent) -> tuple[Line, ...]:
    """That line, and those that the order replaces (ORC-1 RO): what is known of these leads to it, and back."""
    replaced = ((one.placer_order_number, one.filler_order_number) for one in event.replaces)
    return tuple(line for line in (line_of(event), *replaced) if line != (None, None))


def accessions_of(*events: OrderEvent) -> frozenset[AccessionNumber]:
    """The accession numbers of their orders, and of those that these replace, as the events say."""
    own = [event.accession_number for event in events]
    replaced = [one.accession_number for event in events for one in event.replaces]
    return frozenset(accession for accession in (*own, *replaced) if accession is not None)


def agree(one: Sequence[OrderNumber | None], other: Sequence[OrderNumber | None]) -> bool:
    """Whether two lists of numbers, kind by kind, may be of one order: they share a number and contradict each other in none."""
    pairs = list(zip(one, other, strict=True))
    return any(a is not None and a == b for a, b in pairs) and all(a is None or b is None or a == b for a, b in pairs)


def one_line(one: Line, other: Line) -> Line | None:
    """The line that both name."""
    return (one[0] or other[0], one[1] or other[1]) if agree(one, other) else None


def lines_known(start: Iterable[Line], events: Sequence[OrderEvent]) -> frozenset[Line]:
    """`start`, and what the events say of the same lines, over any number of steps."""
    shared: dict[object, set[Line]] = defaultdict(set)
    beside: dict[Line, set[Line]] = defaultdict(set)
    for event in events:
        for line in lines_of(event):
            placer, filler = line
            for key in (filler, placer, (placer, filler)):
                if key is not None:
                    shared[key].add(line)
            beside[line].update(lines_of(event))
    known, new = set(start), list(start)
    while new:
        placer, filler = line = new.pop()
        for other in shared[placer] if filler is None else shared[filler] | shared[placer, None]:
            both = one_line(line, other)
            if both is not None:
                more = {both, *beside[other]} - known if len(beside[other]) > 1 else {both} - known
                known |= more
                new += more
    return frozenset(known)


def around(
    events: Sequence[OrderEvent], lines: Iterable[Line], accessions: Collection[AccessionNumber]
) -> tuple[Sequence[OrderEvent], frozenset[Line]]:
    """Of the events, those that name one of the lines or replace it, or that name one of the accession numbers, over any number
    of steps; and all lines these are known to speak of."""
    under = [not accessions_of(event).isdisjoint(accessions) for event in events]
    start = {line for event, is_under in zip(events, under, strict=True) if is_under for line in lines_of(event)}
    known = lines_known(start.union(lines), events)
    speaking = [
        event
        for event, is_under in zip(events, under, strict=True)
        if is_under or any(agree(line, own) for line, own in product(known, lines_of(event)))
    ]
    return speaking, known


def with_accession_now(events: Sequence[OrderEvent]) -> list[OrderEvent]:
    """The events, in order of first arrival, each with the accession number that its line has now."""
    now = list(events)
    for words in by_sender(events).values():
        for told in _told_by(words):
            for arrival in told.words:
                if now[arrival].accession_number != told.accession:
                    now[arrival] = now[arrival].model_copy(update={"accession_number": told.accession})
    return now


@dataclass
class _Told:
    """A line and where it is, as one sender told it so far; `words`: by which events."""

    line: Line
    accession: AccessionNumber
    #: not only the filler order number read as accession number, because none was sent
    certain: bool
    cancelled: bool
    words: list[int]
    former: set[AccessionNumber] = field(default_factory=set)


def _told_by(words: Sequence[tuple[Rank, OrderEvent]]) -> list[_Told]:
    told: list[_Told] = []
    for (_, _, arrival), event in words:
        if event.accession_number is not None:
            _hear(told, event, event.accession_number, arrival)
    return told


def _hear(told: list[_Told], event: OrderEvent, accession: AccessionNumber, arrival: int) -> None:
    line = line_of(event)
    cancels = event.status is OrderStatus.CANCELLED
    certain = event.filler_order_number is None or event.filler_order_number.value != accession.value
    kin = [one for one in told if agree(one.line, line)]
    here = [one for one in kin if one.accession == accession]
    if len(here) > 1:  # of several lines under one accession number
        for one in here:
            one.cancelled = cancels
        return
    live = [one for one in kin if not one.cancelled]
    if here:
        one = here[0]
    elif len(live) == 1 and (not certain or not live[0].certain or _moves(event, live[0], accession)):
        one = live[0]
    else:
        told.append(_Told(line, accession, certain, cancels, [arrival]))
        return
    if not here and certain and not (cancels and accession in one.former):
        one.former.add(one.accession)
        one.accession = accession
    one.line = one_line(one.line, line) or one.line
    one.certain = one.certain or certain
    one.cancelled = cancels
    one.words.append(arrival)


def _moves(event: OrderEvent, one: _Told, accession: AccessionNumber) -> bool:
    if event.status is OrderStatus.CANCELLED:
        return accession in one.former  # it names the order as it was called before
    return isinstance(event, OrderChanged)
