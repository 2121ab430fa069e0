"""What was known of a case at a moment: from its timeline and the records themselves, as they stood on the log by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.case_store import TimelineEntry
from schemas.errors import Rejected
from schemas.history import History
from schemas.hl7v2.admission import type_of
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message as Hl7Message
from schemas.hl7v2.site import Site
from schemas.ports import Record
from streams import topics
from streams.cases.engine import answers_of, dead_letters_of, discrepancies_of, held_of
from streams.cases.hospital import orders_of, reports_of, studies_of
from streams.cases.items import Gone, Item, Message
from streams.cases.reading import Reading, lines_of

#: section of the page -> the topics whose records it is made of
SECTIONS: dict[str, tuple[str, ...]] = {
    "messages": (topics.HL7_RAW.name,),
    "orders": (topics.ORDERS.name,),
    "studies": (topics.NOTICES.name, topics.STUDIES.name),
    "findings": (topics.REQUESTS.name, topics.REQUESTS_STAT.name, topics.REQUESTS_BULK.name, topics.RESULTS.name),
    "reports": (topics.REPORTS.name,),
    "deliveries": (topics.DELIVERIES.name,),
    "discrepancies": (topics.DISCREPANCIES.name,),
    "dead letters": (topics.DEAD_LETTERS.name,),
}
#: a message has come also while nothing that is made of it stands on the log yet
_OF_MESSAGES = frozenset({topics.ORDERS.name, topics.REPORTS.name, topics.PATIENTS.name})


@dataclass(frozen=True, slots=True)
class Known:
    """`sections`: by name, each in order of time. `later`: how many records of the case came after the moment, `next_at` when the
    first of them."""

    sections: dict[str, tuple[Item, ...]]
    studies: tuple[str, ...]
    later: int
    next_at: datetime | None

    @property
    def nothing(self) -> bool:
        return not any(self.sections.values())


async def known_then(timeline: Sequence[TimelineEntry], history: History, moment: datetime, site: Site) -> Known:
    """`timeline`: all of the case. Raises BrokerUnavailable, ObjectStoreUnavailable."""
    then = [entry for entry in timeline if entry.at <= moment]
    later = [entry for entry in timeline if entry.at > moment]
    reading = Reading(history)
    # a rendering says nothing that its result does not say
    await reading.read(entry.place for entry in then if entry.place.topic != topics.FINDINGS.name)
    await reading.read(entry.place for entry in later if entry.place.topic in _OF_MESSAGES)
    lines = lines_of(then, reading)
    answers = answers_of(lines)
    found: dict[str, Sequence[Item]] = {
        "messages": _messages(then, later, reading, moment, site),
        "orders": orders_of(lines),
        "studies": studies_of(lines),
        "findings": answers,
        "reports": reports_of(lines),
        "deliveries": held_of(lines, answers),
        "discrepancies": discrepancies_of(lines),
        "dead letters": dead_letters_of(lines),
    }
    gone = _gone(then, reading)
    for name, of in SECTIONS.items():
        found[name] = [*found[name], *(one for one in gone if one.place.topic in of)]
    return Known(
        sections={name: tuple(sorted(items, key=lambda item: (item.at, str(item.place)))) for name, items in found.items()},
        studies=tuple(dict.fromkeys(entry.study_instance_uid for entry in then if entry.study_instance_uid)),
        later=len(later),
        next_at=later[0].at if later else None,
    )


def _gone(then: Sequence[TimelineEntry], reading: Reading) -> list[Gone]:
    """Entries whose records are not there, and what is missing behind those that are."""
    gone = {
        entry.place: Gone(entry.at, entry.place, reading.gone[entry.place], entry.what)
        for entry in then
        if entry.place in reading.gone
    }
    for entry in then:
        last = reading.behind(entry.place)[-1]
        if last in reading.gone and last not in gone:
            gone[last] = Gone(entry.at, last, reading.gone[last], f"led to {entry.place}")
    return list(gone.values())


def _messages(
    then: Sequence[TimelineEntry], later: Sequence[TimelineEntry], reading: Reading, moment: datetime, site: Site
) -> list[Message]:
    used = dict.fromkeys(place for entry in then for place in reading.behind(entry.place))
    came = dict.fromkeys(place for entry in later for place in reading.behind(entry.place))
    records = (reading.records[place] for place in {**used, **came} if place in reading.records)
    return [
        _message(record, record.place in used, site)
        for record in records
        if record.place.topic == topics.HL7_RAW.name and record.timestamp <= moment
    ]


def _message(record: Record, used: bool, site: Site) -> Message:
    try:
        message = Hl7Message.parse(record.value, record.header("charset") or site.default_charset)
        header = Header.of(message)
    except Rejected:
        return Message(record.timestamp, record.place, "unreadable", "", "?", used)
    sender = header.sender_key(site.default_charset)
    return Message(record.timestamp, record.place, type_of(header), message.message_control_id, sender, used)
