"""Who and what a message speaks of: order numbers, accession number, patients, sender; and the identity of its events."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from pydantic import ValidationError

from schemas.errors import MalformedMessage, MissingIdentifier
from schemas.events import Sender
from schemas.hl7v2.message import Message, Segment
from schemas.hl7v2.site import Site
from schemas.hl7v2.times import moment
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, identity

_Number = TypeVar("_Number", AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber)


@dataclass(frozen=True)
class Reception:
    """A message, the site it belongs to, and when it was received (the only "now" that events may know)."""

    message: Message
    site: Site
    received_at: datetime

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
        candidates = (moment(text, self.site.time_zone) for text in (*times, header.value(7)) if text)
        sequence = header.value(13)
        return Sender(
            application=header.field(3).strip(),
            facility=header.field(4).strip(),
            message_control_id=self.message.message_control_id,
            occurred_at=next((time for time in candidates if time), self.received_at),
            sequence_number=int(sequence) if sequence.isascii() and sequence.isdigit() else None,
        )

    def number(self, kind: type[_Number], value: str, assigner: str, where: str) -> _Number | None:
        """None for an empty value. Raises MalformedMessage for a value that is too long, or that holds a control character or a
        byte which did not decode: half an identifier is another identifier."""
        if not value:
            return None
        if "\N{REPLACEMENT CHARACTER}" in value + assigner:
            at = self.message.undecodable_at
            offset = "" if at is None else f", the first one in the message at offset {at}"
            raise MalformedMessage("normalise", where, f"holds a byte that is not {self.message.codec}{offset}")
        if any(character < " " or character == "\x7f" for character in value + assigner):
            raise MalformedMessage("normalise", where, "holds a control character")
        try:
            return kind(value=value, assigner=assigner or self.site.default_assigner)
        except ValidationError:
            raise MalformedMessage("normalise", where, "is no identifier of at most 250 characters") from None

    def entity(self, kind: type[_Number], places: Iterable[tuple[Segment | None, int]]) -> _Number | None:
        """The first of `places` that holds an EI (2.A.28): EI.2 or EI.3 is the assigner."""
        for segment, field in places:
            if segment is not None and segment.value(field):
                assigner = segment.value(field, 2) or segment.value(field, 3)
                return self.number(kind, segment.value(field), assigner, f"{segment.name}-{field}")
        return None

    def accession_number(
        self, obr: Segment | None, ipc: Segment | None, filler: FillerOrderNumber | None
    ) -> AccessionNumber | None:
        """OBR-18 (IHE RAD TF-2 4.4), else IPC-1 (EI), else the value of the filler order number. A namespace in ORC-3
        says who assigned the filler order number, not the accession number, so it is not taken over."""
        issuer = self.site.issuer_of_accession_number
        if obr is not None and obr.value(18):
            return self.number(AccessionNumber, obr.value(18), issuer, "OBR-18")
        if ipc is not None and ipc.value(1):
            return self.number(AccessionNumber, ipc.value(1), ipc.value(1, 2) or ipc.value(1, 3) or issuer, "IPC-1")
        return self.number(AccessionNumber, filler.value, issuer, "ORC-3") if filler else None

    def patients(self, segment: Segment | None, field: int) -> tuple[PatientIdentifier, ...]:
        """All CX of a field (PID-3, MRG-1): CX.4.1, else CX.4.2, is the assigner (2.A.14). In the order sent, each once."""
        if segment is None:
            return ()
        found: dict[PatientIdentifier, None] = {}
        for repetition in segment.repetitions(field):
            assigner = repetition.component(4) or repetition.component(4, 2)
            identifier = self.number(PatientIdentifier, repetition.component(1), assigner, f"{segment.name}-{field}")
            if identifier:
                found[identifier] = None
        return tuple(found)


def require_number(group: int, *numbers: PlacerOrderNumber | FillerOrderNumber | AccessionNumber | None) -> None:
    """Raises MissingIdentifier when a group of an order or report could never be joined with anything."""
    if not any(numbers):
        raise MissingIdentifier("normalise", f"group {group}", "neither ORC-2/OBR-2, ORC-3/OBR-3, OBR-18 nor IPC-1 holds a number")
