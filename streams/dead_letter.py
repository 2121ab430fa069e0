"""A record that no step can finish, kept for a person: its original bytes, and headers that say where, why and how often."""

from __future__ import annotations

from schemas.errors import RadstreamError, ResourceRefused
from schemas.identifiers import identity
from schemas.ports import Headers, Outgoing, Record
from streams.due import ATTEMPTS, PARKED_FROM, origin_of
from streams.emission import headers
from streams.topics import DEAD_LETTERS

DEAD_LETTER_TYPE = "org.radstream.dead-letter.v1"

#: Bytes of an OperationOutcome that are kept; with it all our headers stay well below topics.DEAD_LETTER_ROOM.
OUTCOME_LIMIT = 64 * 1024
_REASON_LIMIT = 1024
#: The first of our headers: everything before its last occurrence is the original's.
_FIRST = "topic"


def dead_letter(record: Record, step: str, error: Exception, attempts: int) -> Outgoing:
    """The dead letter of `record`, the same bytes however often it is made.

    Original headers come first and unchanged, ours after them, so that `Record.header` reads ours. The reason is the
    error's own, with what it refers to, when it is one of schemas.errors, which hold no content; of any other only the class is
    told."""
    place = record.place
    reason = f"{error.reference}: {error.reason}" if isinstance(error, RadstreamError) else "unexpected"
    told = {
        _FIRST: place.topic,
        "partition": str(place.partition),
        "offset": str(place.offset),
        "step": step,
        "error": type(error).__name__,
        "reason": reason[:_REASON_LIMIT],
        "attempts": str(attempts),
    }
    ours: Headers = tuple((name, value.encode("utf-8")) for name, value in told.items())
    if isinstance(error, ResourceRefused):
        ours += (("operation-outcome", error.operation_outcome[:OUTCOME_LIMIT]),)
    ours += headers(
        id=str(identity("dead-letter", step, origin_of(record))),
        type=DEAD_LETTER_TYPE,
        time=record.timestamp,
        cause=record,
        content_type=record.header("content-type") or "application/octet-stream",
    )
    return Outgoing(topic=DEAD_LETTERS.name, key=record.key, value=record.value, headers=record.headers + ours)


def split_headers(letter: Record) -> tuple[Headers, Headers]:
    """Those of the record that it was made of, and ours. Raises ValueError when it is no dead letter."""
    firsts = [index for index, (name, _) in enumerate(letter.headers) if name == _FIRST]
    if not firsts:
        raise ValueError(f"{letter.place} is no dead letter: no header names the original topic")
    return letter.headers[: firsts[-1]], letter.headers[firsts[-1] :]


def original_of(letter: Record) -> Outgoing:
    """The record that a dead letter was made of, to be sent again as if it had never been tried. Raises ValueError when it is
    no dead letter."""
    before, ours = split_headers(letter)
    return Outgoing(
        topic=ours[0][1].decode("utf-8"),
        key=letter.key,
        value=letter.value,
        headers=tuple(one for one in before if one[0] not in (ATTEMPTS, PARKED_FROM)),
    )
