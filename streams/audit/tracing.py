"""From a place on the log to its record, to the records that led to it, and to the persons it speaks of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from schemas.errors import RadstreamError
from schemas.history import History
from schemas.hl7v2.identification import Reception
from schemas.hl7v2.message import Message, Segment
from schemas.hl7v2.site import Site
from schemas.identifiers import PatientIdentifier
from schemas.ports import Place, Record
from schemas.renderings.audited import Audited
from streams import topics
from streams.hidden import shown_type
from streams.placed import Missing, each_at

#: no chain of ours is so long; a circle would be
_LONGEST = 32


@dataclass(frozen=True, slots=True)
class Cause:
    """A record that led to another; `type`: of its event, as it may be shown; `cause`: what led to it."""

    place: str
    type: str
    at: datetime
    cause: str | None


async def causes_of(history: History, of: Sequence[Audited]) -> dict[str, list[Cause]]:
    """What led to each, by its place: the record that caused it, the one that caused that, as far back as the log reaches. Raises
    as `each_at`."""
    chains: dict[str, list[Cause]] = {one.place: [] for one in of}
    looking = {one.place: one.cause for one in of if one.cause}
    known: dict[str, Cause] = {}
    for _ in range(_LONGEST):
        async for record in _there(history, {place for place in looking.values() if place not in known}):
            place = str(record.place)
            known[place] = Cause(place, shown_type(record) or "", record.timestamp, record.header("cause"))
        found = {begun: known[place] for begun, place in looking.items() if place in known}
        for begun, cause in found.items():
            chains[begun].append(cause)
        looking = {begun: cause.cause for begun, cause in found.items() if cause.cause}
    return chains


async def with_patients(history: History, of: Sequence[Audited], site: Site) -> list[Audited]:
    """Each with the persons of whom the records it is about speak; of a delivery those of the record that it delivered. Raises as
    `each_at`."""
    about = {one.place: _about(one) for one in of}
    known: dict[str, tuple[PatientIdentifier, ...]] = {}
    async for record in _there(history, {place for places in about.values() for place in places}):
        known[str(record.place)] = persons_of(record, site)
    return [
        replace(one, patients=tuple(dict.fromkeys(person for place in about[one.place] for person in known.get(place, ()))))
        for one in of
    ]


async def _there(history: History, places: Iterable[str]) -> AsyncIterator[Record]:
    """Those of which the record is there; whoever writes to the log may name anything as a place. Raises as `each_at`."""
    async for found in each_at(history, filter(None, map(Place.parse, places))):
        if not isinstance(found, Missing):
            yield found


def _about(one: Audited) -> tuple[str, ...]:
    if one.place.startswith(f"{topics.DEAD_LETTERS.name}/"):
        return (one.place,)
    return (one.cause,) if one.destination and one.cause else one.places


def persons_of(record: Record, site: Site) -> tuple[PatientIdentifier, ...]:
    """One identifier of each person, the first that is told of them."""
    topic = record.header("topic") if record.place.topic == topics.DEAD_LETTERS.name else record.place.topic
    if topic and topic.startswith("sandbox."):
        topic = topic.split(".", 2)[-1]
    try:
        if topic == topics.HL7_RAW.name:
            return tuple(dict.fromkeys(_of_message(record, site)))
        return tuple(dict.fromkeys(_of_json(json.loads(record.value))))
    except (RadstreamError, ValueError, RecursionError):  # whatever is on a topic: a dead letter most of all
        return ()


def _of_message(record: Record, site: Site) -> Iterator[PatientIdentifier]:
    """Of each PID, and of the identifiers that a merge ends (MRG)."""
    message = Message.parse(record.value, record.header("charset") or site.default_charset)
    reception = Reception(message, site, record.timestamp)
    habits = reception.habits
    for name, places in (("PID", habits.patient_identifier), ("MRG", habits.prior_patient_identifier)):
        for segment in message.all(name):
            yield from reception.patients(partial(_among, message, segment), places)[:1]


def _among(message: Message, segment: Segment, name: str) -> Segment | None:
    """This segment by its name; any other is the message's first."""
    return segment if segment.name == name else message.first(name)


def _of_json(value: Any) -> Iterator[PatientIdentifier]:
    """Of events, findings and the FHIR Bundle, by the names of their members; they may be anything."""
    if _member(value, "resourceType") == "Bundle":
        entries = _member(value, "entry")
        for entry in entries if isinstance(entries, list) else ():
            identifier = _member(_member(_member(entry, "resource"), "subject"), "identifier")
            yield from _valid(_member(identifier, "value"), _member(_member(identifier, "assigner"), "display"))
        return
    lists = [_member(value, name) for name in ("patients", "prior")]
    firsts = [one[0] for one in lists if isinstance(one, list) and one]
    for person in (_member(_member(value, "subject"), "patient"), _member(value, "patient"), *firsts):
        yield from _valid(_member(person, "value"), _member(person, "assigner"))


def _member(of: Any, name: str) -> Any:
    return of.get(name) if isinstance(of, dict) else None


def _valid(value: object, assigner: object) -> Iterator[PatientIdentifier]:
    try:
        yield PatientIdentifier.model_validate({"value": value, "assigner": assigner})
    except ValidationError:
        return
