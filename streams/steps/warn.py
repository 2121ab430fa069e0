"""`ai.discrepancies` -> people: an alarm in the log for each that is opened or escalated, and a web server that is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog
from pydantic import ValidationError

from schemas.discrepancies import DISCREPANCY_EVENTS, DiscrepancyEscalated, DiscrepancyEvent, DiscrepancyOpened
from schemas.errors import MalformedMessage
from schemas.ports import Acknowledgement, Outgoing, Record

_log = structlog.get_logger(__name__)


class EventReceiver(Protocol):
    """Whom the settings name (`discrepancies.receiver`)."""

    async def tell_event(self, body: bytes, id: UUID, type: str) -> Acknowledgement:
        """`body`: JSON, of that CloudEvents type. The same id is the same message, which the receiver drops when it has it. Raises
        ReceiverUnavailable, ItemNotServed, AccessRefused, ResourceRefused, InvalidResource."""
        ...


class Warn:
    """The step; one record after the other. `receiver` None: the log alone. `opened`: it is told at once, not only when nobody
    acknowledged in time."""

    def __init__(self, receiver: EventReceiver | None, *, opened: bool = False) -> None:
        self._receiver = receiver
        self._kinds = (DiscrepancyOpened, DiscrepancyEscalated) if opened else (DiscrepancyEscalated,)
        #: discrepancies are rare: all since the start
        self._alarmed: set[UUID] = set()

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        """Told again it is the same message. Raises MalformedMessage, and as `tell_event`."""
        event = discrepancy_event(record)
        if isinstance(event, (DiscrepancyOpened, DiscrepancyEscalated)):
            self._alarm(event)
        if self._receiver is not None and isinstance(event, self._kinds):
            await self._receiver.tell_event(record.value, event.id, event.TYPE)
        return []

    def _alarm(self, event: DiscrepancyEvent) -> None:
        """Once: while the receiver is down the record is tried again and again, or comes again."""
        if event.id in self._alarmed:
            return
        self._alarmed.add(event.id)
        _log.error(
            "alarm",
            alarm="discrepancy",
            escalated=isinstance(event, DiscrepancyEscalated),
            discrepancy_id=str(event.discrepancy_id),
            study_instance_uid=event.study_instance_uid,
            accession_number=None if event.accession_number is None else str(event.accession_number),
        )


def discrepancy_event(record: Record) -> DiscrepancyEvent:
    """Raises MalformedMessage when it is none."""
    kind = DISCREPANCY_EVENTS.get(record.header("ce_type") or "")
    try:
        if kind is not None:
            return kind.model_validate_json(record.value)
    except ValidationError:  # its text quotes the input
        pass
    raise MalformedMessage("discrepancies", str(record.place), "no event of a discrepancy")
