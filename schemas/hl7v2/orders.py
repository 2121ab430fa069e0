"""ORM^O01, OMI^O23, OMG^O19 -> order events, one for each ORC/OBR group."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import OrderCancelled, OrderChanged, OrderEvent, OrderPlaced, OrderStatus, Priority
from schemas.findings import OrderReference
from schemas.hl7v2.groups import Group
from schemas.hl7v2.identification import Numbers, Reception, require_number

#: ORC-1, table 0119 (v2.5.1 4.5.1.1), as far as a placer or filler tells the world of an order with it
_PLACED = frozenset({"NW", "SN", "RO", "PA", "CH"})
_CHANGED = frozenset({"XO", "XX", "XR", "SC", "NA", "HD", "HR", "OH", "RL", "OE", "OR"})
_CANCELLED = frozenset({"CA", "OC", "CR", "DC", "OD", "DR", "RU", "RQ"})
#: replaced by the RO groups that follow; RP alone means a change in place, RU and RQ a cancellation
_REPLACED = frozenset({"RP", "RU", "RQ"})
#: results of earlier orders, sent along for the reader (OMG, OMI: PRIOR_RESULT)
_PREVIOUS = "PR"
_ON_HOLD = frozenset({"HD", "HR", "OH"})

#: ORC-5, table 0038 (4.5.1.5). SC: scheduled; A: some results
_STATUS = {
    "SC": OrderStatus.PLACED,
    "IP": OrderStatus.IN_PROGRESS,
    "A": OrderStatus.IN_PROGRESS,
    "CM": OrderStatus.COMPLETED,
    "HD": OrderStatus.ON_HOLD,
    "CA": OrderStatus.CANCELLED,
    "DC": OrderStatus.CANCELLED,
    "RP": OrderStatus.CANCELLED,
}


def orders(reception: Reception) -> Sequence[OrderEvent]:
    """Raises MalformedMessage, UnsupportedMessage, MissingIdentifier; each names segment and field. One bad group refuses
    the whole message: half an order set would look complete."""
    groups = reception.groups
    if not groups or any(group.orc is None for group in groups):
        raise MalformedMessage("normalise", "ORC", "an order message without an ORC segment before its OBR")
    codes = [reception.code(group.orc, 1).upper() for group in groups if group.orc]
    replacing = "RO" in codes
    replaced = _replaced(codes) if replacing else [()] * len(codes)
    numbers = {one: reception.numbers(groups[one]) for one in {one for ones in replaced for one in ones}}
    found = (
        _order(reception, ordinal, group, code, [numbers[one] for one in ones], replacing=replacing)
        for ordinal, (group, code, ones) in enumerate(zip(groups, codes, replaced, strict=True), 1)
    )
    return [order for order in found if order is not None]


def _replaced(codes: Sequence[str]) -> list[Sequence[int]]:
    """For each group the indices of those that it replaces: of an RO the replaced ones that stand before it, many to many
    (4.5.1.1, note on RP and RO); a sender that puts all of them behind means them too."""
    every = [index for index, code in enumerate(codes) if code in _REPLACED]
    found: list[Sequence[int]] = []
    run: list[int] = []
    after_ro = False
    for index, code in enumerate(codes):
        if code in _REPLACED:
            run = [index] if after_ro else [*run, index]
        after_ro = code == "RO" or (after_ro and code not in _REPLACED)
        found.append((run or every) if code == "RO" else ())
    return found


def _order(
    reception: Reception, ordinal: int, group: Group, code: str, replaced: Sequence[Numbers], *, replacing: bool
) -> OrderEvent | None:
    orc, obr = group.orc, group.obr
    assert orc is not None
    if code == _PREVIOUS or not (code or orc.value(2) or orc.value(3)):
        return None  # an empty ORC: a notice about images (openmrs-pacs), no order
    status = _status(reception.code(orc, 5).upper(), code)
    kind = _kind(code, status, replacing, ordinal)
    numbers = reception.numbers(group)
    require_number(ordinal, numbers)
    placer, filler, accession = numbers
    return kind(
        id=reception.event_id("order", ordinal),
        time=reception.received_at,
        sender=reception.sender(orc.value(9)),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        study_instance_uid=reception.study(group),
        patients=reception.patients(group.segment, reception.habits.patient_identifier),
        service_code=(obr and reception.code(obr, 4, 1)) or None,
        service_text=(obr and obr.value(4, 2)) or None,
        service_coding_system=(obr and reception.code(obr, 4, 3)) or None,
        priority=_priority(reception, group),
        status=OrderStatus.CANCELLED if kind is OrderCancelled else status,
        replaces=tuple(_reference(one) for one in replaced if one != numbers),
    )


def _reference(numbers: Numbers) -> OrderReference:
    placer, filler, accession = numbers
    return OrderReference(placer_order_number=placer, filler_order_number=filler, accession_number=accession)


def _status(orc_5: str, code: str) -> OrderStatus:
    told = _STATUS.get(orc_5)
    if code in _ON_HOLD:
        return OrderStatus.ON_HOLD if told is not OrderStatus.CANCELLED else told
    return told or OrderStatus.PLACED


def _kind(code: str, status: OrderStatus, replacing: bool, ordinal: int) -> type[OrderEvent]:
    if code in _CANCELLED or (code == "RP" and replacing):
        return OrderCancelled
    if code not in _PLACED | _CHANGED | {"RP"}:
        raise UnsupportedMessage("normalise", f"ORC-1 of group {ordinal}", "is no order control code that is read")
    if status is OrderStatus.CANCELLED and code not in ("RO", "RP"):
        return OrderCancelled  # SC with ORC-5 CA, and the like
    return OrderPlaced if code in _PLACED else OrderChanged


def _priority(reception: Reception, group: Group) -> Priority:
    """ORC-7.6 and OBR-27.6 (TQ.6, up to v2.4), TQ1-9 (table 0485): S is STAT."""
    for segment, field, component in ((group.orc, 7, 6), (group.obr, 27, 6), (group.segment("TQ1"), 9, 1)):
        if segment is not None and reception.code(segment, field, component).upper() in ("S", "STAT"):
            return Priority.STAT
    return Priority.ROUTINE
