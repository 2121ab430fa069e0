"""Which order events speak of the same order, and what they say of it together: pure functions of the set of events.

An order may be known by up to three numbers and each event tells some of them. Two events speak of the same order when they
share a number and contradict each other in none: one accession number may stand for several orders (two placer numbers), one
placer number for several (two filler numbers), and an event that names the placer number alone speaks of all of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.events import OrderEvent, OrderStatus, Priority
from schemas.findings import OrderReference
from schemas.identifiers import AccessionNumber, PatientIdentifier
from schemas.ports import OrderNumber


@dataclass(frozen=True, slots=True)
class LinkedOrder:
    """An order with everything that was said of it."""

    reference: OrderReference
    patients: tuple[PatientIdentifier, ...]
    priority: Priority
    cancelled: bool


def reference_of(order: OrderEvent) -> OrderReference:
    """The numbers that this event tells. Raises ValueError when it tells none."""
    return OrderReference(
        placer_order_number=order.placer_order_number,
        filler_order_number=order.filler_order_number,
        accession_number=order.accession_number,
    )


def numbers_of(references: Iterable[OrderReference]) -> frozenset[OrderNumber]:
    """All numbers in them."""
    return frozenset(number for reference in references for number in _triple(reference) if number is not None)


def linked_orders(events: Sequence[OrderEvent], accession: AccessionNumber) -> tuple[LinkedOrder, ...]:
    """The orders of the accession number; `events` in order of first arrival."""
    found = []
    for reference in whole_references(map(reference_of, events)):
        if reference.accession_number == accession:
            found.append(_said(reference, [event for event in events if _within(reference_of(event), reference)]))
    return tuple(found)


def accessions_of(events: Sequence[OrderEvent], order: OrderEvent) -> tuple[AccessionNumber, ...]:
    """The accession numbers of all orders that `order` (one of `events`) speaks of."""
    told = reference_of(order)
    references = whole_references(map(reference_of, events))
    found = {reference.accession_number for reference in references if _within(told, reference)}
    return tuple(sorted((accession for accession in found if accession is not None), key=str))


def whole_references(references: Iterable[OrderReference]) -> tuple[OrderReference, ...]:
    """Every order by all numbers that are known of it, sorted."""
    known = set(references)
    new = list(known)
    while new:
        one = new.pop()
        for other in tuple(known):
            both = _both(one, other)
            if both is not None and both not in known:
                known.add(both)
                new.append(both)
    whole = (one for one in known if not any(one != other and _within(one, other) for other in known))
    return tuple(sorted(whole, key=lambda reference: reference.model_dump_json()))


def _triple(reference: OrderReference) -> tuple[OrderNumber | None, OrderNumber | None, OrderNumber | None]:
    return reference.placer_order_number, reference.filler_order_number, reference.accession_number


def _both(one: OrderReference, other: OrderReference) -> OrderReference | None:
    """What two references say together when they share a number and contradict in none."""
    pairs = list(zip(_triple(one), _triple(other), strict=True))
    shared = any(a is not None and a == b for a, b in pairs)
    contradicted = any(a is not None and b is not None and a != b for a, b in pairs)
    if not shared or contradicted:
        return None
    return OrderReference(
        placer_order_number=one.placer_order_number or other.placer_order_number,
        filler_order_number=one.filler_order_number or other.filler_order_number,
        accession_number=one.accession_number or other.accession_number,
    )


def _within(part: OrderReference, whole: OrderReference) -> bool:
    return all(a is None or a == b for a, b in zip(_triple(part), _triple(whole), strict=True))


def _said(reference: OrderReference, events: Sequence[OrderEvent]) -> LinkedOrder:
    """Rule 8. Within one sender the newest counts, whenever it came. Across senders their times say nothing: an order that
    any sender's last word cancels is cancelled; the patient is whom the last arrived word names. STAT stays STAT: a status
    message seldom repeats the priority, and analysing too early harms nobody."""
    words = _last_words(events)
    patients = _last_words([event for event in events if event.patients])
    return LinkedOrder(
        reference=reference,
        patients=patients[-1].patients if patients else (),
        priority=Priority.STAT if any(event.priority is Priority.STAT for event in events) else Priority.ROUTINE,
        cancelled=any(event.status is OrderStatus.CANCELLED for event in words),
    )


def _last_words(events: Sequence[OrderEvent]) -> list[OrderEvent]:
    """The newest event of each sender, in order of arrival."""
    newest: dict[str, tuple[tuple[datetime, int, int], OrderEvent]] = {}
    for arrival, event in enumerate(events):
        sender = event.sender
        rank = (sender.occurred_at, -1 if sender.sequence_number is None else sender.sequence_number, arrival)
        if sender.key not in newest or rank > newest[sender.key][0]:
            newest[sender.key] = (rank, event)
    return [event for rank, event in sorted(newest.values(), key=lambda item: item[0][2])]
