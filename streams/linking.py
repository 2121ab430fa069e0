"""Which order events speak of the same order, and what they say of it together: pure functions of the set of events.

An order may be known by up to three numbers and each event tells some of them. Two events speak of the same order when they
share a number and contradict each other in none: one accession number may stand for several orders (two placer numbers), one
placer number for several (two filler numbers), and an event that names the placer number alone speaks of all of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from schemas.case_store import OrderNumber
from schemas.events import OrderEvent, OrderStatus, Priority
from schemas.findings import MessageReference, OrderReference
from schemas.identifiers import AccessionNumber, PatientIdentifier
from streams.order_lines import Line, agree, line_of
from streams.order_of_truth import last_words


@dataclass(frozen=True, slots=True)
class LinkedOrder:
    """An order with everything that was said of it; `messages`: those that hold the last word of each sender;
    `service`: OBR-4.1, .2 and .3 of the newest that has one."""

    reference: OrderReference
    patients: tuple[PatientIdentifier, ...]
    priority: Priority
    cancelled: bool
    messages: tuple[MessageReference, ...] = ()
    service: tuple[str, str | None, str | None] | None = None


def reference_of(order: OrderEvent) -> OrderReference:
    """The numbers that this event tells. Raises ValueError when it tells none."""
    return OrderReference(
        placer_order_number=order.placer_order_number,
        filler_order_number=order.filler_order_number,
        accession_number=order.accession_number,
    )


def linked_orders(events: Sequence[OrderEvent], accession: AccessionNumber) -> tuple[LinkedOrder, ...]:
    """The orders of the accession number and those that replace them, whatever number these have; `events` in order of first
    arrival, each with the accession number that its order has now."""
    here = [event for event in events if event.accession_number in (accession, None)]
    found = {reference: here for reference in whole_references(map(reference_of, here)) if reference.accession_number == accession}
    for successor in _successors(events, [_line(reference) for reference in found], accession):
        line = line_of(successor)
        same = [event for event in events if event is successor or agree(line, line_of(event))]
        for reference in whole_references(map(reference_of, same)):
            if _within(reference_of(successor), reference):
                found.setdefault(reference, same)
    return tuple(
        _said(reference, [event for event in found[reference] if _within(reference_of(event), reference)])
        for reference in sorted(found, key=OrderReference.model_dump_json)
    )


def _successors(events: Sequence[OrderEvent], lines: list[Line], accession: AccessionNumber) -> Iterator[OrderEvent]:
    """ORC-1 RO: orders that replace one of the accession number or of the lines, or that replace such an order."""
    left = [event for event in events if event.replaces]
    while found := [
        event
        for event in left
        if any(one.accession_number == accession or any(agree(_line(one), line) for line in lines) for one in event.replaces)
    ]:
        yield from found
        left = [event for event in left if event not in found]
        lines = [line_of(event) for event in found]


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


def _line(reference: OrderReference) -> Line:
    return reference.placer_order_number, reference.filler_order_number


def _triple(reference: OrderReference) -> tuple[OrderNumber | None, OrderNumber | None, OrderNumber | None]:
    return reference.placer_order_number, reference.filler_order_number, reference.accession_number


def _both(one: OrderReference, other: OrderReference) -> OrderReference | None:
    """What two references of one order say together."""
    if not agree(_triple(one), _triple(other)):
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
    words = last_words(events)
    patients = last_words([event for event in events if event.patients])
    return LinkedOrder(
        reference=reference,
        patients=patients[-1].patients if patients else (),
        priority=Priority.STAT if any(event.priority is Priority.STAT for event in events) else Priority.ROUTINE,
        cancelled=any(event.status is OrderStatus.CANCELLED for event in words),
        messages=tuple(message for event in words if (message := _message_of(event)) is not None),
        service=next((told for event in reversed(words) if (told := _service_of(event)) is not None), None),
    )


def _message_of(event: OrderEvent) -> MessageReference | None:
    """None of one without MSH-10: nobody could find it by that."""
    sender = event.sender
    return MessageReference(sender=sender.key, message_control_id=sender.message_control_id) if sender.message_control_id else None


def _service_of(event: OrderEvent) -> tuple[str, str | None, str | None] | None:
    return (event.service_code, event.service_text, event.service_coding_system) if event.service_code else None
