"""What one peer sends over one connection, and what it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter

import structlog

from connectors.mllp.batch import header_of, is_batch, split
from connectors.mllp.codes import Answer, Trouble, code_for
from connectors.mllp.conversations import Conversations
from connectors.mllp.framing import Fault, Frame, Garbage, frame
from schemas.errors import MalformedMessage
from schemas.hl7v2.acknowledgement import INTERNAL, NOT_HL7, TOO_LARGE, AcknowledgementCode, Condition, acknowledge
from schemas.hl7v2.acknowledgement_mode import application_wanted, commit_wanted, enhanced
from schemas.hl7v2.admission import Admission, Objection, objection
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import holds_second_message

log = structlog.get_logger()

Write = Callable[[bytes], None]

#: MLLP release 2 (HL7 Transport, 4.3): "this block is safe with me", "it is not"
COMMIT, NO_COMMIT = b"\x06", b"\x15"


#: the fields of MSH that admission asks for, and the separators they are read by; MSH-18 may be absent
_ASKED = itemgetter(1, 2, 5, 6, 9, 11, 12)


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed with a peer. `codes`: where its answers differ from the standard's; `commit_bytes`: MLLP release 2;
    `return_address`: HOST:PORT for application answers, None: this connection; `default_charset` (table 0211) is for an empty
    MSH-18."""

    admission: Admission = field(default_factory=Admission)
    codes: Mapping[Trouble, Answer] = field(default_factory=dict)
    commit_bytes: bool = False
    return_address: str | None = None
    default_charset: str = "UNICODE UTF-8"


@dataclass(slots=True)  # not frozen, which costs twice as much: one is made for every message
class Received:
    """One message, or bytes that are none. `header` is None when none could be read; `trouble` and `fault` say why it is
    refused, `condition` what its sender is told of that. `answered`: whether the peer waits for an answer at all.
    `before`, `behind`: lines of the batch it came in. `answer_to`: where an application answer is owed, "" for none."""

    content: bytes
    peer: str
    received_at: datetime
    header: Header | None
    fault: str = ""
    condition: Condition | None = None
    answered: bool = True
    trouble: Trouble | None = None
    before: bytes = b""
    behind: bytes = b""
    answer_to: str = ""
    codes: Mapping[Trouble, Answer] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        return self.trouble is not None


class Dialogue:
    """Takes frames and answers them in the same order. `write` sends an application answer that comes later; it finds its way
    here through `conversations`. To be closed with the connection."""

    def __init__(self, terms: Terms, conversations: Conversations, write: Write) -> None:
        self._terms = terms
        self._conversations = conversations
        self._write = write
        self._address = conversations.open(self._tell)
        self._taken = 0
        self._answered = 0
        self._early: dict[int, bytes] = {}
        self._welcome: tuple[str, ...] = ()

    def close(self) -> None:
        self._conversations.close(self._address)

    def received(self, item: Frame | Garbage, peer: str, at: datetime) -> list[Received]:
        """Everything that is to be stored of it, in order; each is to be answered in the same order."""
        content = item.content
        if isinstance(item, Garbage):
            return [self._garbage(item, peer, at)]
        if self._terms.commit_bytes and content in (COMMIT, NO_COMMIT):
            if content == NO_COMMIT:
                log.warning("an answer of ours was not accepted", peer=peer)
            return []
        if is_batch(content):
            return self._batch(content, peer, at)
        return [self._message(content, peer, at)]

    def answer(self, received: Received, stored: bool) -> bytes:
        """Framed. Positive only when its bytes are `stored`; empty when no answer is owed."""
        self._answered += 1
        early = self._early.pop(self._answered, b"") if self._early else b""
        if received.header is None and not received.answered:
            return early
        trouble = received.trouble if stored else Trouble.STORAGE
        code = self._code(received.header, trouble) if received.answered else None
        answer = b""
        if self._terms.commit_bytes:
            answer = frame(NO_COMMIT if trouble else COMMIT)
        if code is not None:
            told = [] if trouble is None else [INTERNAL if not stored or received.condition is None else received.condition]
            answer += frame(acknowledge(received.header, code, received.received_at, *told))
        return answer + early

    def _code(self, header: Header | None, trouble: Trouble | None) -> AcknowledgementCode | None:
        codes = self._terms.codes
        if header is None or not enhanced(header):
            return code_for(trouble, codes)
        if commit_wanted(header, trouble is None):
            return code_for(trouble, codes, commit=True)
        if trouble is not None and application_wanted(header, False):  # nobody else will tell: it goes no further
            return code_for(trouble, codes)
        return None

    # ------------------------------------------------------------------------------------------------ what was received

    def _message(self, content: bytes, peer: str, at: datetime, before: bytes = b"", behind: bytes = b"") -> Received:
        self._taken += 1
        try:
            header = Header.read(content, self._terms.default_charset)
        except MalformedMessage:
            header = None
        one = Received(content, peer, at, header, before=before, behind=behind)
        if header is None:
            return self._refused(one, Trouble.UNREADABLE, "a frame that holds no HL7 message", NOT_HL7)
        if holds_second_message(content):
            return self._refused(one, Trouble.UNREADABLE, "two messages in one, and no batch", NOT_HL7)
        # an acknowledgement is not acknowledged, or two engines would go on for ever; but for a commit answer it may ask
        an_answer = header.field(9).startswith("ACK") and header.component(9, 1) == "ACK"
        in_enhanced_mode = enhanced(header)
        one.answered = in_enhanced_mode or not an_answer
        found = self._objection(header)
        if found is not None:
            return self._refused(one, Trouble.UNSUPPORTED, f"{found.field}: {found.reason}", found.condition)
        if in_enhanced_mode and not an_answer and (application_wanted(header, True) or application_wanted(header, False)):
            one.answer_to = self._terms.return_address or f"{self._address}/{self._taken}"
            one.codes = self._terms.codes
        return one

    @staticmethod
    def _refused(one: Received, trouble: Trouble, fault: str, condition: Condition) -> Received:
        one.trouble, one.fault, one.condition = trouble, fault, condition
        return one

    def _objection(self, header: Header) -> Objection | None:
        told = _ASKED(header.fields) + header.fields[18:19] if len(header.fields) > 12 else ()
        if told and told == self._welcome:
            return None  # one peer's messages differ in time and control id; nobody is asked the same of each
        found = objection(header, self._terms.admission, self._terms.default_charset)
        if found is None:
            self._welcome = told
        return found

    def _batch(self, content: bytes, peer: str, at: datetime) -> list[Received]:
        try:
            batch = split(content)
        except MalformedMessage as error:
            self._taken += 1
            return [
                Received(
                    content,
                    peer,
                    at,
                    header_of(content, self._terms.default_charset),
                    error.reason,
                    NOT_HL7,
                    trouble=Trouble.UNREADABLE,
                )
            ]
        if batch.miscounted:
            log.warning("a batch holds another number of messages than it says", peer=peer, messages=len(batch.parts))
        return [self._message(part.content, peer, at, part.before, part.behind) for part in batch.parts]

    def _garbage(self, item: Garbage, peer: str, at: datetime) -> Received:
        self._taken += 1
        if item.fault is not Fault.TOO_LARGE:
            return Received(item.content, peer, at, None, item.fault, answered=False, trouble=Trouble.UNREADABLE)
        header: Header | None
        try:
            header = Header.read(item.content, self._terms.default_charset)
        except MalformedMessage:
            header = header_of(item.content, self._terms.default_charset) if is_batch(item.content) else None
        return Received(item.content, peer, at, header, item.fault, TOO_LARGE, trouble=Trouble.UNREADABLE)

    # ------------------------------------------------------------------------------------------------ answers that come later

    def _tell(self, number: int, answer: bytes) -> None:
        """The application answer of the message of that number: never before its commit answer (2.9.3.1)."""
        if number <= self._answered:
            self._write(frame(answer))
        elif number <= self._taken:
            self._early[number] = frame(answer)


#: begins the dialogue of a connection: with whom (host:port), and how an answer that comes later is written to it
Converse = Callable[[str, Write], Dialogue]
