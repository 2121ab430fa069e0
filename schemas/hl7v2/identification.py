"""Who and what a message speaks of: order numbers, accession number, patients, sender; and the identity of its events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from pydantic import ValidationError

from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.events import Sender
from schemas.hl7v2.charset import SUBSTITUTE
from schemas.hl7v2.groups import Group, groups_of
from schemas.hl7v2.message import Message, Segment
from schemas.hl7v2.paths import Find, Path, Place
from schemas.hl7v2.site import Site
from schemas.hl7v2.times import moment
from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    StudyInstanceUID,
    identity,
)

#: MSH-13, NM of 15 digits
_SEQUENCE_NUMBER = re.compile(r"[0-9]{1,15}\Z")

_Number = TypeVar("_Number", AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber)
Numbers = tuple[PlacerOrderNumber | None, FillerOrderNumber | None, AccessionNumber | None]


@dataclass(frozen=True)
class Reception:
    """A message, the site it belongs to, and when it was received (the only "now" that events may know)."""

    message: Message
    site: Site
    received_at: datetime

    @cached_property
    def habits(self) -> Site:
        """The site as it is for the sender of this message."""
        header = self.message.header
        return self.site.as_of(header.field(3).strip(), header.field(4).strip())

    @cached_property
    def groups(self) -> Sequence[Group]:
        """Of an order or result message."""
        return groups_of(self.message.segments)

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.message.raw).hexdigest()

    def event_id(self, kind: str, ordinal: int) -> UUID:
        """The same bytes from the same sender give the same ids, however often they come."""
        header = self.message.header
        key = f"{header.field(3).strip()}|{header.field(4).strip()}"
        return identity(kind, key, self.message.message_control_id, self._digest, str(ordinal))

    def sender(self, *times: str) -> Sender:
        """`times`: the event's own times, best first; then MSH-7, then the time of receipt (rule 8)."""
        header = self.message.header
        candidates = (moment(text, self.habits.time_zone) for text in (*times, header.value(7)) if text)
        sequence = header.value(13)
        return Sender(
            application=header.field(3).strip(),
            facility=header.field(4).strip(),
            message_control_id=self.message.message_control_id,
            occurred_at=next((time for time in candidates if time), self.received_at),
            sequence_number=int(sequence) if _SEQUENCE_NUMBER.match(sequence) else None,
        )

    def code(self, segment: Segment, field: int, component: int = 1, subcomponent: int = 1) -> str:
        """A value that decides something. Raises MalformedMessage when a byte of it did not decode: half a code is another."""
        value = segment.value(field, component, subcomponent)
        if SUBSTITUTE in value:
            raise self._undecodable(segment, field)
        return value

    def entity(self, kind: type[_Number], group: Group, places: Sequence[Place], default_assigner: str) -> _Number | None:
        """What the first of `places` that holds a value says. Of a whole field (EI, 2.A.28) component 2 or 3 is the assigner.
        Raises MalformedMessage."""
        for place in group.in_order(places):
            path = place.value
            segment = group.segment(path.segment)
            value = path.value(segment) if segment is not None else ""
            if segment is None or not value:
                continue
            assigner = ""
            if place.assigner is not None:
                assigner = self._assigner(place.assigner, group.segment)
            elif path.component is None:
                assigner = segment.value(path.field, 2) or segment.value(path.field, 3)
            return self._number(kind, segment, path, value, assigner or default_assigner)
        return None

    def numbers(self, group: Group) -> Numbers:
        """Placer, filler and accession number of a group. Raises MalformedMessage."""
        site = self.habits
        return (
            self.entity(PlacerOrderNumber, group, site.placer_order_number, site.default_assigner),
            self.entity(FillerOrderNumber, group, site.filler_order_number, site.default_assigner),
            self.entity(AccessionNumber, group, site.accession_number, site.issuer_of_accession_number),
        )

    def study(self, group: Group) -> StudyInstanceUID | None:
        """A hint only, so one that is no UID is left out."""
        for place in self.habits.study_instance_uid:
            segment = group.segment(place.value.segment)
            value = place.value.value(segment) if segment is not None else ""
            if value:
                try:
                    return StudyInstanceUID(value)
                except ValueError:
                    continue
        return None

    def patients(self, find: Find, places: Sequence[Place]) -> tuple[PatientIdentifier, ...]:
        """All repetitions of the first of `places` that holds one. Of a whole field (CX, 2.A.14) CX.4.1, else CX.4.2, is the
        assigner. In the order sent, each once. Raises MalformedMessage."""
        for place in places:
            segment = find(place.value.segment)
            found: dict[PatientIdentifier, None] = {}
            for repetition in segment.repetitions(place.value.field) if segment is not None else ():
                assert segment is not None
                value = place.value.value_in(repetition)
                if not value:
                    continue
                told = place.assigner
                if told is None:
                    whole = place.value.component is None
                    assigner = (repetition.component(4) or repetition.component(4, 2)) if whole else ""
                elif (told.segment, told.field) == (place.value.segment, place.value.field):
                    assigner = told.value_in(repetition)
                else:
                    assigner = self._assigner(told, find)
                found[self._number(PatientIdentifier, segment, place.value, value, assigner or self.habits.default_assigner)] = None
            if found:
                return tuple(found)
        return ()

    def _assigner(self, path: Path, find: Find) -> str:
        segment = find(path.segment)
        return path.value(segment) if segment is not None else ""

    def _number(self, kind: type[_Number], segment: Segment, path: Path, value: str, assigner: str) -> _Number:
        """Raises MalformedMessage for a value that is too long, or that holds a control character or a byte which did not
        decode: half an identifier is another identifier."""
        if SUBSTITUTE in value or SUBSTITUTE in assigner:
            raise self._undecodable(segment, path.field)
        if not (value + assigner).isprintable() and any(character < " " or character == "\x7f" for character in value + assigner):
            raise MalformedMessage("normalise", str(path), "holds a control character")
        try:
            return kind(value=value, assigner=assigner)
        except ValidationError:
            raise MalformedMessage("normalise", str(path), "is no identifier of at most 250 characters") from None

    def _undecodable(self, segment: Segment, field: int) -> MalformedMessage:
        place, at = f"{segment.name}-{field}", self.message.undecodable_in(segment, field)
        if at is None:
            reason = "holds U+FFFD: its sender lost a character, or an escape sequence is no character"
        else:
            reason = f"holds a byte that is not {self.message.charset}, at offset {at}"
        return MalformedMessage("normalise", place, reason)


def require_number(group: int, numbers: Numbers) -> None:
    """Raises MissingIdentifier when a group of an order or report could never be joined with anything."""
    if not any(numbers):
        raise MissingIdentifier("normalise", f"group {group}", "holds neither a placer, a filler nor an accession number")
