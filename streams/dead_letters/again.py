"""The record of a dead letter, to be sent again: for the step that failed and for no other, with a link to the letter it came from;
and which may not be."""

from __future__ import annotations

from collections.abc import Collection

from schemas.ports import Headers, Outgoing, Record
from streams import topics
from streams.answering import ANSWER_CODES, ANSWER_TO
from streams.dead_letter import original_of
from streams.dead_letters.letters import DELIVERS, RESENT_FROM, Letter
from streams.due import ATTEMPTS, PARKED_BY, PARKED_FROM

#: nobody may do again by hand what stands there
_ACTS = {topics.MODELS.name, topics.AUDIT.name, topics.CHECKPOINTS.name}
_TOPICS = {topic.name for topic in topics.ALL}
#: roles that are no readers of a topic: what they refuse has been nowhere, and is for all
_NO_READERS = ("listen", "watch")
#: of one try
_OF_BEFORE = {ATTEMPTS, PARKED_FROM, PARKED_BY, RESENT_FROM}
#: where an answer to a message was owed: its sender has had one, and waits no more
_OWED = {ANSWER_TO, ANSWER_CODES}


def objection(letter: Letter, destinations: Collection[str]) -> str | None:
    """Why it cannot be sent again, and what to do. `destinations`: the names of those that are told now."""
    if letter.topic == "mllp":
        return "bytes on a connection, and no record: correct them in a file and use `radstream send FILE`; then discard the letter"
    if letter.topic not in _TOPICS:
        return f"{letter.topic} is no topic: what is wrong has to be mended there, which tells it again; then discard the letter"
    if letter.topic in _ACTS:
        return f"an act on {letter.topic} is not sent again but done again, by its own command"
    if letter.delivers and letter.step.removeprefix(DELIVERS) not in destinations:
        return f"no destination of the settings is called {letter.step.removeprefix(DELIVERS)}: nobody would read it"
    return None


def again(record: Record, letter: Letter) -> Outgoing:
    """`record`: the letter as it stands on its topic. The same bytes however often it is made. Readers beside the step that failed
    have had it, and pass it over. Raises ValueError when it is none."""
    original = original_of(record)
    return linked(original, letter, None if letter.step in _NO_READERS else letter.step)


def linked(record: Outgoing, letter: Letter, step: str | None) -> Outgoing:
    """The same as never tried before. `step`: who alone shall read it; None: all readers of the topic."""
    told: Headers = () if step is None else ((PARKED_BY, step.encode("utf-8")),)
    told += ((RESENT_FROM, str(letter.place).encode("ascii")),)
    left_out = _OF_BEFORE | _OWED if record.topic == topics.HL7_RAW.name else _OF_BEFORE
    own = tuple(one for one in record.headers if one[0] not in left_out)
    return Outgoing(record.topic, record.key, record.value, own + told)
