"""What a record and the states that it triggered have in common, as far as each tells by itself: the study, or the message."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import OrderEvent
from schemas.findings import Subject
from schemas.hl7v2.message import Message
from schemas.ports import Record
from streams import topics

#: keyed by the study
OF_STUDIES = frozenset(topic.name for topic in (topics.STUDIES, topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK))


def whose(record: Record, default_charset: str) -> str:
    """Its study, or else its HL7 v2 message; "" of a record that tells of neither, and of one that cannot be read."""
    try:
        if record.place.topic in OF_STUDIES:
            return (record.key or b"").decode("ascii")
        if record.place.topic == topics.ORDERS.name:
            sender = OrderEvent.model_validate_json(record.value).sender
            return _message(sender.key, sender.message_control_id)
        if record.place.topic == topics.HL7_RAW.name:
            message = Message.parse(record.value, record.header("charset") or default_charset)
            application, facility = (message.header.field(number).strip() for number in (3, 4))
            return _message(f"{application}|{facility}", message.message_control_id)
    except (MalformedMessage, UnsupportedMessage, UnicodeDecodeError, ValidationError):
        return ""
    return ""


def of(subject: Subject) -> Iterator[str]:
    """Of all records that may have triggered this state."""
    yield str(subject.study_instance_uid)
    for message in subject.messages:
        yield _message(message.sender, message.message_control_id)


def _message(sender: str, message_control_id: str) -> str:
    return f"{sender}|{message_control_id}" if message_control_id else ""
