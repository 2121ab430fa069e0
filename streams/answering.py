"""What the sender of a message on `hl7.v2.raw` is told of it after normalising: an application answer where its MSH-16 asks
for one, or a record on `hl7.v2.rejected` when it came past our listeners."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import get_args

from connectors.mllp.codes import STANDARD, Answer, Trouble, code_for
from schemas.errors import MalformedMessage, MissingIdentifier, Rejected, UnsupportedMessage
from schemas.events import ACKNOWLEDGEMENT_TYPE, ErrorCondition, MessageRejected
from schemas.hl7v2.acknowledgement import (
    DATA_TYPE_ERROR,
    INTERNAL,
    NOT_HL7,
    REQUIRED_FIELD_MISSING,
    SEQUENCE_ERROR,
    VALUE_NOT_FOUND,
    AcknowledgementCode,
    Condition,
    acknowledge,
)
from schemas.hl7v2.acknowledgement_mode import application_wanted
from schemas.hl7v2.admission import Admission, Inadmissible, objection, type_of, used
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message
from schemas.identifiers import identity
from schemas.ports import Headers, Outgoing, Record, Step
from streams.due import origin_of
from streams.emission import HL7_ER7, emit, headers
from streams.tally import Tally
from streams.topics import HL7_ACKNOWLEDGEMENTS, HL7_REJECTED

#: headers of a record on hl7.v2.raw that a listener wrote: the peer; where an application answer is owed (HOST:PORT, or an
#: address of connectors.mllp.conversations); what codes were agreed with the peer, as "content=reject"
PEER = "peer"
ANSWER_TO = "answer-to"
ANSWER_CODES = "answer-codes"
#: the listener's default character set, where it is another than the site's
CHARSET = "charset"

#: the sender of what has no MSH to name one
_NOBODY = "(no MSH)"

_ANSWERS: Mapping[str, Answer] = {answer: answer for answer in get_args(Answer)}

#: a place as the normaliser's errors name it: "ORC-1 of group 2", "PID-3.1", "group 2"
_FIELD = re.compile(r"\b([A-Z][A-Z0-9]{2})(?:-(\d+)(?:\.(\d+))?)?(?: of group (\d+))?\b")


def answer_headers(answer_to: str, codes: Mapping[Trouble, Answer]) -> Headers:
    """For the record of a message that asks for an application answer."""
    told: list[tuple[str, bytes]] = [(ANSWER_TO, answer_to.encode())]
    if codes:
        told.append((ANSWER_CODES, " ".join(f"{trouble}={answer}" for trouble, answer in codes.items()).encode()))
    return tuple(told)


class Answering:
    """A step on `hl7.v2.raw` with its answers. Call it in the step's place, and give `refusal` to the guard."""

    def __init__(self, step: Step, admission: Admission, default_charset: str, tally: Tally) -> None:
        self._step = step
        self._admission = admission
        self._default_charset = default_charset
        self._tally = tally

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        """Raises Inadmissible for what the site does not take, and what the step raises."""
        header = admitted_header(record, self._admission, self._default_charset)
        outputs = await self._step(record)
        if header is None:
            return outputs
        if not used(header):
            self._tally.not_used(type_of(header))
        return [*outputs, *self._answer(record, header, AcknowledgementCode.ACCEPT)]

    def refusal(self, record: Record, error: Exception) -> Sequence[Outgoing]:
        """What is to be written beside the dead letter of `record`. Raises nothing: a record on which it did would block the
        line."""
        header = self._header(record)
        trouble, condition = _told(error)
        # not the record's key: a HIS that produces straight onto the log may take a patient's number for it
        sender = header.sender_key(self._charset(record)) if header else _NOBODY
        self._tally.rejected(sender, type(error).__name__)
        if record.header(PEER) is not None:
            return self._answer(record, header, code_for(trouble, _agreed(record)), condition) if header else []
        event = MessageRejected(
            id=identity("hl7v2-rejected", origin_of(record)),
            time=record.timestamp,
            message_control_id=header.text(10, self._charset(record)) if header else "",
            code="AR" if STANDARD[trouble] == "reject" else "AE",
            conditions=(ErrorCondition(**asdict(condition)),),
            place=str(record.place),
        )
        return [replace(emit(HL7_REJECTED, "", event, record), key=record.key)]

    def _answer(self, record: Record, header: Header, code: AcknowledgementCode, *conditions: Condition) -> Sequence[Outgoing]:
        to = record.header(ANSWER_TO)
        if not to or not application_wanted(header, code is AcknowledgementCode.ACCEPT):
            return []
        # over a connection of its own an answer must be answered too, or it may be lost; on the sender's own it need not be
        accept = "AL" if ":" in to else "NE"
        answer = acknowledge(header, code, record.timestamp, *conditions, accept=accept)
        told = headers(
            id=str(identity("hl7v2-acknowledgement", origin_of(record), code)),
            type=ACKNOWLEDGEMENT_TYPE,
            time=record.timestamp,
            cause=record,
            content_type=HL7_ER7,
        )
        return [Outgoing(HL7_ACKNOWLEDGEMENTS.name, record.key, answer, (*told, (ANSWER_TO, to.encode())))]

    def _charset(self, record: Record) -> str:
        return _charset(record, self._default_charset)

    def _header(self, record: Record) -> Header | None:
        return _header(record, self._charset(record))


def admitted_header(record: Record, admission: Admission, default_charset: str) -> Header | None:
    """None when there is none: the step says so in its own words. Raises Inadmissible for what the site does not take."""
    charset = _charset(record, default_charset)
    header = _header(record, charset)
    if header is not None and (found := objection(header, admission, charset)) is not None:
        raise Inadmissible("normalise", found.field, found.reason, found.condition)
    return header


def admitted(step: Step, admission: Admission, default_charset: str) -> Step:
    """The step, without its answers: for those who have no sender to answer. Raises as `admitted_header`, and what the step
    raises."""

    async def once(record: Record) -> Sequence[Outgoing]:
        admitted_header(record, admission, default_charset)
        return await step(record)

    return once


def _charset(record: Record, default_charset: str) -> str:
    return record.header(CHARSET) or default_charset


def _header(record: Record, charset: str) -> Header | None:
    try:
        return Header.read(record.value, charset)
    except MalformedMessage:
        pass
    try:  # UTF-16 and UTF-32, which come from anywhere but MLLP
        return Header.of(Message.parse(record.value, charset))
    except Rejected:
        return None


def _agreed(record: Record) -> dict[Trouble, Answer]:
    """A header may have been written by anybody: what is no trouble or no answer in it says nothing."""
    found: dict[Trouble, Answer] = {}
    for said in (record.header(ANSWER_CODES) or "").split():
        trouble, _, answer = said.partition("=")
        if trouble in list(Trouble) and answer in _ANSWERS:
            found[Trouble(trouble)] = _ANSWERS[answer]
    return found


def _told(error: Exception) -> tuple[Trouble, Condition]:
    """The trouble behind an error of the normaliser, and what its sender is told."""
    match error:
        case Inadmissible():
            return Trouble.UNSUPPORTED, replace(error.condition, message=error.reason)
        case MalformedMessage(reference="MSH"):
            return Trouble.UNREADABLE, replace(NOT_HL7, message=error.reason)
        case Rejected():
            trouble = Trouble.UNSUPPORTED if error.reference.startswith("MSH-") else Trouble.CONTENT
            return trouble, _located(_condition(error), error)
    return Trouble.INTERNAL, INTERNAL


def _condition(error: Rejected) -> Condition:
    match error:
        case MissingIdentifier():
            return REQUIRED_FIELD_MISSING
        case UnsupportedMessage():
            return VALUE_NOT_FOUND
        case MalformedMessage() if len(error.reference) == 3:  # a segment is not there, or not where it must be
            return SEQUENCE_ERROR
    return DATA_TYPE_ERROR


def _located(condition: Condition, error: Rejected) -> Condition:
    found = _FIELD.search(error.reference)
    location = ""
    if found:
        segment, number, component, group = found.groups()
        places = [segment, group or "1", *([number] if number else []), *(["1", component] if component else [])]
        location = "^".join(places)
    return replace(condition, location=location, message=f"{error.reference}: {error.reason}")
