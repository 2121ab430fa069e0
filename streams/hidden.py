"""What of a record may name a patient although its value is not shown: its key, and headers that others than we wrote."""

from __future__ import annotations

from schemas.events import RAW_MESSAGE_TYPE
from schemas.ports import Record
from streams import topics
from streams.answering import PEER

#: in the place of what may name a patient
HIDDEN = "(hidden)"

#: their keys are patient identifiers, or what the HIS took for a key
_PATIENT_KEYS = {topics.PATIENTS.name, topics.HL7_REJECTED.name}


def key_may_name_a_patient(record: Record) -> bool:
    """A dead letter has the key of its original. The key of a message that came through our listeners is its sender. A topic
    of a sandbox is as its own."""
    return _first_topic(record) in _PATIENT_KEYS or came_past_our_listeners(record)


def came_past_our_listeners(record: Record) -> bool:
    """A message that the HIS put on the log itself, or a dead letter of one: whatever is in its key and headers, the HIS chose.
    The headers behind those of a dead letter's original are ours all the same."""
    return _first_topic(record) == topics.HL7_RAW.name and record.header(PEER) is None


def is_dead_letter(record: Record) -> bool:
    return topics.plain_name(record.place.topic) == topics.DEAD_LETTERS.name


def shown_type(record: Record) -> str | None:
    """Of its event; a word that others wrote may be anything but ours."""
    told = record.header("ce_type")
    others = told not in (None, RAW_MESSAGE_TYPE) and came_past_our_listeners(record) and not is_dead_letter(record)
    return HIDDEN if others else told


def _first_topic(record: Record) -> str:
    return topics.plain_name((record.header("topic") or "") if is_dead_letter(record) else record.place.topic)
