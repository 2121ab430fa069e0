"""Raw HL7 v2 bytes become order, report and patient events, and notices of studies. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from schemas.errors import MalformedMessage
from schemas.events import Event, OrderEvent, PatientEvent, ReportEvent
from schemas.hl7v2 import notices, orders, patients, reports
from schemas.hl7v2.admission import type_of
from schemas.hl7v2.header import Header
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message, holds_second_message
from schemas.hl7v2.message_types import ORDER_MESSAGES, PATIENT_MERGES, PATIENT_UNLINKS, PATIENT_UPDATES, REPORT_MESSAGES
from schemas.hl7v2.site import Site
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Record
from streams.emission import emit
from streams.topics import NOTICES, ORDERS, PATIENTS, REPORTS

log = structlog.get_logger()

#: Other types are kept on hl7.v2.raw and not used.
_READERS: dict[tuple[str, str], Sequence[Callable[[Reception], Sequence[Event]]]] = {
    **dict.fromkeys(ORDER_MESSAGES, (orders.orders, notices.notices)),
    **dict.fromkeys(REPORT_MESSAGES, (reports.reports, notices.notices)),
    **dict.fromkeys(PATIENT_UPDATES, (patients.updated,)),
    **dict.fromkeys(PATIENT_MERGES, (patients.merged,)),
    **dict.fromkeys(PATIENT_UNLINKS, (patients.unlinked,)),
}


async def normalise(record: Record, *, site: Site) -> Sequence[Outgoing]:
    """A record of `hl7.v2.raw`; its header `charset` (table 0211) stands for an empty MSH-18 where the listener that took it
    has another default than the site. Raises MalformedMessage, UnsupportedMessage, MissingIdentifier: the whole message is then
    a dead letter, for the sum of its groups is what the sender meant."""
    message = Message.parse(record.value, record.header("charset") or site.default_charset)
    events = events_of(message, site, _received_at(record))
    if events is None:
        kind = type_of(Header.of(message))
        log.info("not used", type=kind, place=str(record.place))
        return []
    return [_emitted(event, record) for event in events]


def events_of(message: Message, site: Site, received_at: datetime) -> Sequence[Event] | None:
    """What a message says; None for a type that nothing here reads. Raises as `normalise`; also for a second MSH, as the
    listener does: what stands behind it would be read as the first one's, whatever its own MSH-9 and MSH-11 say."""
    if holds_second_message(_in_utf_8(message)):
        raise MalformedMessage("normalise", "MSH", "two messages in one: each must be a record of its own")
    reception = Reception(message, site, received_at)
    readers = _READERS.get((reception.code(message.header, 9, 1).upper(), reception.code(message.header, 9, 2).upper()))
    return None if readers is None else [event for read in readers for event in read(reception)]


def _in_utf_8(message: Message) -> bytes:
    """UTF-16 and UTF-32; any other holds the letters of ASCII as they are."""
    return message.raw if b"MSH" in message.raw[:64] else "\r".join(segment.line for segment in message.segments).encode()


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
        case StudyNoticed():
            return emit(NOTICES, event.key, event, cause)
        case PatientEvent():
            patient = event.patients[0]
            return emit(PATIENTS, patient.text, event, cause)
    raise TypeError(f"{type(event).__name__} has no topic")
