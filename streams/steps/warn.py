"""`ai.discrepancies` -> people: an alarm in the log for each that is opened or escalated; and a web server that is told what was
escalated, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog
from pydantic import ValidationError

from schemas.discrepancies import (
    DISCREPANCY_EVENTS,
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.errors import MalformedMessage
from schemas.ports import Acknowledgement, Outgoing, Record
from schemas.tellings import Tellings

_log = structlog.get_logger(__name__)


class EventReceiver(Protocol):
    """Whom the settings name (`discrepancies.receiver`)."""

    async def tell_event(self, body: bytes, id: UUID, type: str) -> Acknowledgement:
        """`body`: JSON, of that CloudEvents type. The same id is the same message, which the receiver drops when it has it. Raises
        ReceiverUnavailable, ItemNotServed, AccessRefused, ResourceRefused, InvalidResource."""
        ...


class Warn:
    """The step; one record after the other. `receiver` None: the log alone; `name`: of the receiver, under which `tellings` know
    what it was told."""

    def __init__(self, receiver: EventReceiver | None, name: str, tellings: Tellings) -> None:
        self._receiver = receiver
        self._name = name
        self._tellings = tellings
        #: discrepancies are rare: all since the start
        self._alarmed: set[UUID] = set()

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        """Told again it is the same message. Raises MalformedMessage, StoreUnavailable, and as `tell_event`."""
        event = discrepancy_event(record)
        if isinstance(event, (DiscrepancyOpened, DiscrepancyEscalated)):
            self._alarm(event)
        if self._receiver is not None and await self._concerns(event):
            await self._receiver.tell_event(record.value, event.id, event.TYPE)
        return []

    async def _concerns(self, event: DiscrepancyEvent) -> bool:
        """Whom it was escalated to is told when a person has looked, and when it holds no longer; nobody else."""
        if isinstance(event, DiscrepancyEscalated):
            await self._tellings.put_warned(self._name, event.discrepancy_id)  # before it is told: it may arrive without an answer
            return True
        ended = isinstance(event, (DiscrepancyAcknowledged, DiscrepancyWithdrawn))
        return ended and await self._tellings.warned(self._name, event.discrepancy_id)

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
