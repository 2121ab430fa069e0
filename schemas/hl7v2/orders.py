"""ORM^O01, OMI^O23, OMG^O19 -> order events, one for each ORC/OBR group."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import OrderCancelled, OrderChanged, OrderEvent, OrderPlaced, OrderStatus, Priority
from schemas.hl7v2.groups import Group, groups_of
from schemas.hl7v2.identification import Reception, require_number
from schemas.hl7v2.message import Segment
from schemas.identifiers import FillerOrderNumber, PlacerOrderNumber, StudyInstanceUID

#: ORC-1, table 0119 (v2.5.1 4.5.1.1), as far as a placer or filler tells the world of an order with it
_PLACED = frozenset({"NW", "SN", "RO", "PA", "CH"})
_CHANGED = frozenset({"XO", "XX", "XR", "SC", "NA", "HD", "HR", "RL", "OE", "OR"})
_CANCELLED = frozenset({"CA", "OC", "CR", "DC", "OD", "DR", "RU", "RQ"})
#: of an order replaced by the RO groups that follow it; alone it means a change in place
_REPLACED = "RP"
#: results of earlier orders, sent along for the reader (OMG, OMI: PRIOR_RESULT)
_PREVIOUS = "PR"
_ON_HOLD = frozenset({"HD", "HR"})

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
    message = reception.message
    groups = groups_of(message.segments)
    if not groups or any(group.orc is None for group in groups):
        raise MalformedMessage("normalise", "ORC", "an order message without an ORC segment before its OBR")
    # IHE RAD TF-2 4.4.4.1.2.6: one ZDS may stand at the end for all groups
    zds = list(message.all("ZDS"))
    shared_zds = zds[0] if len(zds) == 1 else None
    replacing = any(group.orc and group.orc.value(1).upper() == "RO" for group in groups)
    found = (_order(reception, ordinal, group, shared_zds, replacing) for ordinal, group in enumerate(groups, 1))
    return [order for order in found if order is not None]


def _order(reception: Reception, ordinal: int, group: Group, shared_zds: Segment | None, replacing: bool) -> OrderEvent | None:
    orc, obr, ipc = group.orc, group.obr, group.first("IPC")
    assert orc is not None
    code = orc.value(1).upper()
    if code == _PREVIOUS or not (code or orc.value(2) or orc.value(3)):
        return None  # an empty ORC: a notice about images (openmrs-pacs), no order
    placer = reception.entity(PlacerOrderNumber, group.places(2))
    filler = reception.entity(FillerOrderNumber, group.places(3))
    status = _status(orc, code)
    kind = _kind(code, status, replacing, ordinal)
    accession = reception.accession_number(obr, ipc, filler)
    require_number(ordinal, placer, filler, accession)
    return kind(
        id=reception.event_id("order", ordinal),
        time=reception.received_at,
        sender=reception.sender(orc.value(9)),
        placer_order_number=placer,
        filler_order_number=filler,
        accession_number=accession,
        study_instance_uid=_study(((group.first("ZDS") or shared_zds, 1), (ipc, 3))),
        patients=reception.patients(group.pid, 3),
        service_code=(obr and obr.value(4, 1)) or None,
        service_text=(obr and obr.value(4, 2)) or None,
        service_coding_system=(obr and obr.value(4, 3)) or None,
        priority=_priority(orc, obr, group.first("TQ1")),
        status=OrderStatus.CANCELLED if kind is OrderCancelled else status,
    )


def _status(orc: Segment, code: str) -> OrderStatus:
    told = _STATUS.get(orc.value(5).upper())
    if code in _ON_HOLD:
        return OrderStatus.ON_HOLD if told is not OrderStatus.CANCELLED else told
    return told or OrderStatus.PLACED


def _kind(code: str, status: OrderStatus, replacing: bool, ordinal: int) -> type[OrderEvent]:
    if code in _CANCELLED or (code == _REPLACED and replacing):
        return OrderCancelled
    if code not in _PLACED | _CHANGED | {_REPLACED}:
        raise UnsupportedMessage("normalise", f"ORC-1 of group {ordinal}", "is no order control code that is read")
    if status is OrderStatus.CANCELLED and code not in ("RO", _REPLACED):
        return OrderCancelled  # SC with ORC-5 CA, and the like
    return OrderPlaced if code in _PLACED else OrderChanged


def _study(places: Sequence[tuple[Segment | None, int]]) -> StudyInstanceUID | None:
    """ZDS-1.1 (IHE RAD), IPC-3 (EI). A hint only, so one that is no UID is left out."""
    for segment, field in places:
        if segment is not None and segment.value(field):
            try:
                return StudyInstanceUID(segment.value(field))
            except ValueError:
                continue
    return None


def _priority(orc: Segment, obr: Segment | None, tq1: Segment | None) -> Priority:
    """ORC-7.6 and OBR-27.6 (TQ.6, up to v2.4), TQ1-9 (table 0485): S is STAT."""
    told = (orc.value(7, 6), obr.value(27, 6) if obr else "", tq1.value(9) if tq1 else "")
    return Priority.STAT if any(code.upper() in ("S", "STAT") for code in told) else Priority.ROUTINE
