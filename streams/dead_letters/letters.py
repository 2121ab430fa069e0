"""A dead letter as its headers tell it. Its identity is that of the failure (step, and where the record stood first): the same one
written twice is one letter, and what was sent again and failed again is another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from schemas.errors import MalformedMessage
from schemas.hl7v2.header import Header
from schemas.identifiers import identity
from schemas.ports import Place, Record
from streams import topics
from streams.answering import CHARSET, PEER
from streams.dead_letter import split_headers
from streams.hidden import HIDDEN, came_past_our_listeners, key_may_name_a_patient

#: header of what was sent again: the place of the letter it came from
RESENT_FROM = "resent-from"
#: before the name of a destination: the step that brings it to the latest state of each study
DELIVERS = "deliver."


@dataclass(frozen=True, slots=True)
class Letter:
    """The first copy of it. `topic`: what its record was written to, or what it came from when it was none; `stood`: where that
    record stood, None for what was refused before. `headers_are_hidden`: those of its record, for others may have written them.
    `sender`: MSH-3|MSH-4, of HL7 messages where it is known. `digest`: SHA-256 of its value. `came_from`: the place of the letter
    of which its record was sent again, as the header of the record says."""

    id: UUID
    place: Place
    at: datetime
    step: str
    error: str
    reason: str
    attempts: str
    topic: str
    stood: str | None
    key: bytes | None
    key_is_hidden: bool
    headers_are_hidden: bool
    sender: str | None
    size: int
    digest: bytes
    came_from: str | None

    @property
    def shown_key(self) -> str:
        return HIDDEN if self.key_is_hidden else (self.key or b"").decode("utf-8", "replace")

    @property
    def delivers(self) -> bool:
        """Its record is a state of a study on its way to one destination."""
        return self.step.startswith(DELIVERS) and self.topic in (topics.RESULTS.name, topics.FINDINGS.name)

    @property
    def content(self) -> tuple[str, bytes | None, bytes]:
        """The same for the same record, however often it came and failed."""
        return self.topic, self.key, self.digest

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "id": str(self.id),
            "place": str(self.place),
            "time": self.at.isoformat(),
            "step": self.step,
            "error": self.error,
            "reason": self.reason,
            "attempts": self.attempts,
            "topic": self.topic,
            "stood": self.stood,
            "key": self.shown_key,
            "sender": self.sender,
            "bytes": self.size,
            "came_from": HIDDEN if self.headers_are_hidden and self.came_from else self.came_from,
        }


def letter_of(record: Record, *, senders: bool = False) -> Letter | None:
    """None when it is no dead letter. `senders`: of messages that came through no listener too, whose MSH has to be read for it."""
    try:
        before, after = split_headers(record)
    except ValueError:
        return None
    ours = {name: value.decode("utf-8", "replace") for name, value in after}
    stood = "/".join((ours["topic"], ours["partition"], ours["offset"])) if "partition" in ours and "offset" in ours else None
    came_from = next((value for name, value in reversed(before) if name == RESENT_FROM), None)
    return Letter(
        id=_id_of(ours.get("ce_id"), record),
        place=record.place,
        at=record.timestamp,
        step=ours.get("step", ""),
        error=ours.get("error", ""),
        reason=ours.get("reason", ""),
        attempts=ours.get("attempts", ""),
        topic=ours["topic"],
        stood=stood,
        key=record.key,
        key_is_hidden=key_may_name_a_patient(record),
        headers_are_hidden=came_past_our_listeners(record),
        sender=_sender(record, ours["topic"], senders),
        size=len(record.value),
        digest=sha256(record.value).digest(),
        came_from=None if came_from is None else came_from.decode("utf-8", "replace"),
    )


def _id_of(told: str | None, record: Record) -> UUID:
    """Another than a UUID was written by nobody of ours: then its place is who it is."""
    try:
        return UUID(told)
    except (TypeError, ValueError):
        return identity("dead-letter-at", str(record.place))


def _sender(record: Record, topic: str, parse: bool) -> str | None:
    if topic != topics.HL7_RAW.name:
        return None
    if record.header(PEER) is not None:
        return (record.key or b"").decode("utf-8", "replace")
    if not parse:
        return None
    charset = record.header(CHARSET) or "UNICODE UTF-8"
    try:
        return Header.read(record.value, charset).sender_key(charset)
    except MalformedMessage:
        return None
