"""What a listener puts on the log: messages onto `hl7.v2.raw`, whatever is refused, as bytes, to the dead letters."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import structlog

from connectors.mllp.codes import Trouble
from connectors.mllp.dialogue import Received
from schemas.events import RAW_MESSAGE_TYPE
from schemas.identifiers import identity_text
from schemas.ports import EventLog, Headers, Outgoing
from streams.answering import PEER, answer_headers
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import HL7_ER7, headers
from streams.tally import Tally
from streams.topics import DEAD_LETTERS, HL7_RAW

log = structlog.get_logger()

#: lines of the batch that a message came in, as they stood before and behind it
BATCH_BEFORE, BATCH_BEHIND = "batch-before", "batch-behind"

_KEY_LIMIT = 1024
#: control ids that are remembered to tell a resend from another message of the same id
_REMEMBERED = 10_000


def raw_message(received: Received, default_charset: str, told: Headers = ()) -> Outgoing:
    """The record of a message on `hl7.v2.raw`; the same bytes from the same sender give the same ce_id. `default_charset` is
    the listener's, `told` what else the headers say."""
    assert received.header is not None
    sender = received.header.sender_key(default_charset)[:_KEY_LIMIT]
    digest = hashlib.sha256(received.content).hexdigest()
    message_id = identity_text("hl7v2-message", sender, received.header.component(10, 1).strip(), digest)
    event = headers(id=message_id, type=RAW_MESSAGE_TYPE, time=received.received_at, cause=None, content_type=HL7_ER7)
    event += ((PEER, received.peer.encode()), *told)
    if received.before or received.behind:
        event += _batch(received)
    if received.answer_to:
        event += answer_headers(received.answer_to, received.codes)
    return Outgoing(HL7_RAW.name, sender.encode("utf-8"), received.content, event)


def refused_bytes(received: Received, default_charset: str, told: Headers = ()) -> Outgoing:
    """Their dead letter. There is no record they came from, so partition and offset are not told. A message that this site does
    not take can be sent again from here, when its settings are other ones: it is kept as the record it would have been."""
    unsupported = received.trouble is Trouble.UNSUPPORTED
    original = raw_message(received, default_charset, told) if unsupported else None
    ours = {
        "topic": original.topic if original else "mllp",
        "step": "listen",
        "error": "UnsupportedMessage" if original else "MalformedMessage",
        "reason": received.fault,
        "attempts": "1",
        PEER: received.peer,
    }
    digest = hashlib.sha256(received.content).hexdigest()
    event = headers(
        id=identity_text("mllp-refused", received.peer, received.received_at.isoformat(), digest),
        type=DEAD_LETTER_TYPE,
        time=received.received_at,
        cause=None,
        content_type=HL7_ER7 if original else "application/octet-stream",
    )
    before = original.headers if original else _batch(received)
    named = tuple((name, value.encode()) for name, value in ours.items())
    return Outgoing(DEAD_LETTERS.name, original.key if original else None, received.content, (*before, *named, *event))


def _batch(received: Received) -> Headers:
    lines = ((BATCH_BEFORE, received.before), (BATCH_BEHIND, received.behind))
    return tuple((name, value) for name, value in lines if value)


class Intake:
    """Of one listener. `default_charset` is the listener's, `told` what the headers of all its messages say."""

    def __init__(self, event_log: EventLog, default_charset: str, told: Headers = (), tally: Tally | None = None) -> None:
        self._log = event_log
        self._default_charset = default_charset
        self._told = told
        self._tally = tally
        self._control_ids: OrderedDict[tuple[bytes | None, str], bytes] = OrderedDict()

    async def store(self, received: Sequence[Received]) -> None:
        """All of it is on the log, acknowledged by all in-sync replicas, when this returns. Raises BrokerUnavailable."""
        await self._log.append([self._record(one) for one in received])
        for one in received:
            if one.refused:
                log.warning("refused bytes are a dead letter", peer=one.peer, reason=str(one.fault), bytes=len(one.content))
                self._count(one)

    def _record(self, one: Received) -> Outgoing:
        if one.refused:
            return refused_bytes(one, self._default_charset, self._told)
        record = raw_message(one, self._default_charset, self._told)
        self._compare(one, record)
        return record

    def _compare(self, one: Received, record: Outgoing) -> None:
        """A resend is nothing to speak of; another message under the same control id is: its sender numbers badly, or restarted
        its numbers. Both are stored."""
        assert one.header is not None
        control_id = one.header.field(10)
        if not control_id or len(control_id) > _KEY_LIMIT:
            return
        key = (record.key, control_id)
        message_id = next(value for name, value in record.headers if name == "ce_id")
        known = self._control_ids.pop(key, message_id)
        self._control_ids[key] = message_id
        if known != message_id:
            log.warning("another message with the same control id", peer=one.peer, message_control_id=control_id)
        if len(self._control_ids) > _REMEMBERED:
            self._control_ids.popitem(last=False)

    def _count(self, one: Received) -> None:
        if self._tally is None:
            return
        if one.trouble is Trouble.UNSUPPORTED and one.header is not None:
            self._tally.rejected(one.header.sender_key(self._default_charset), one.fault.partition(":")[0])
        else:
            self._tally.garbage(one.peer.rpartition(":")[0], str(one.fault))
