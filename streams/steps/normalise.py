"""Raw HL7 v2 bytes become order, report and patient events. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from schemas.events import Event, OrderEvent, PatientMerged, PatientUpdated, ReportEvent
from schemas.hl7v2 import orders, patients, reports
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.ports import Outgoing, Record
from streams.emission import emit
from streams.topics import ORDERS, PATIENTS, REPORTS

#: MSH-9.1, MSH-9.2. Other types are kept on hl7.v2.raw and not used.
_READERS: dict[tuple[str, str], Callable[[Reception], Sequence[Event]]] = {
    **dict.fromkeys([("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19")], orders.orders),
    ("ORU", "R01"): reports.reports,
    **dict.fromkeys([("ADT", f"A{number}") for number in ("01", "04", "05", "08", "31")], patients.updated),
    **dict.fromkeys([("ADT", f"A{number}") for number in ("18", "34", "40", "47")], patients.merged),
}


async def normalise(record: Record, *, site: Site) -> Sequence[Outgoing]:
    """Raises MalformedMessage, UnsupportedMessage, MissingIdentifier: the whole message is then a dead letter, for the sum
    of its groups is what the sender meant."""
    message = Message.parse(record.value, site.default_charset)
    read = _READERS.get(message.type)
    if read is None:
        return []
    return [_emitted(event, record) for event in read(Reception(message, site, _received_at(record)))]


def _received_at(record: Record) -> datetime:
    """ce_time where our listener wrote it; a HIS that produces straight onto the topic leaves only the record's own time."""
    told = record.header("ce_time")
    if told:
        try:
            time = datetime.fromisoformat(told)
        except ValueError:
            return record.timestamp
        if time.tzinfo is not None:
            return time
    return record.timestamp


def _emitted(event: Event, cause: Record) -> Outgoing:
    match event:
        case OrderEvent() | ReportEvent():
            number = event.accession_number or event.placer_order_number or event.filler_order_number
            return emit(ORDERS if isinstance(event, OrderEvent) else REPORTS, str(number), event, cause)
        case PatientUpdated() | PatientMerged():
            patient = event.patients[0]
            return emit(PATIENTS, f"{patient.value}^{patient.assigner}", event, cause)
    raise TypeError(f"{type(event).__name__} has no topic")
