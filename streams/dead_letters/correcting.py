"""A copy of a dead letter's record that a person has corrected. The letter stays as it is; the copy has an identity of its own, is
linked to the letter, and is for every reader of the topic."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from pydantic import ValidationError

from schemas.errors import MalformedMessage, Rejected, SettingsInvalid, UnsupportedMessage
from schemas.export import SHAPES
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.admission import objection as inadmissible
from schemas.hl7v2.files import pieces_of
from schemas.hl7v2.header import Header
from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.identifiers import identity
from schemas.ports import Outgoing, Record
from streams import topics
from streams.answering import CHARSET
from streams.dead_letter import original_of
from streams.dead_letters.again import linked
from streams.dead_letters.letters import Letter
from streams.dead_letters.planning import Sending
from streams.steps.normalise import normalise

#: what comes from others; what the AI has said, and what was asked of it, is nobody's to correct
CORRECTABLE = (topics.HL7_RAW, topics.NOTICES, topics.ORDERS, topics.REPORTS, topics.PATIENTS, topics.STUDIES)


async def corrected(record: Record, letter: Letter, file: bytes, site: Site, admission: Admission) -> Sending:
    """`record`: the letter as it stands on its topic. Raises SettingsInvalid (a topic whose records are not corrected, a file that
    holds the same or more than one message), Rejected: the copy would fail again."""
    original = original_of(record)
    if original.topic not in {topic.name for topic in CORRECTABLE}:
        raise SettingsInvalid("dead-letters", "--correct", f"a record of {original.topic} is made here: mend what it is made from")
    hl7 = original.topic == topics.HL7_RAW.name
    value = _message_in(file) if hl7 else file.strip()
    if value == original.value:
        raise SettingsInvalid("dead-letters", "--correct", "the file holds the same as the letter: nothing is corrected")
    digest = hashlib.sha256(value).hexdigest()
    own = str(identity("dead-letter-corrected", str(letter.id), digest)).encode("ascii")
    headers = tuple((name, own if name == "ce_id" else told) for name, told in original.headers)
    copy = replace(original, value=value, headers=headers)
    await (_try_message if hl7 else _try_event)(record, copy, site, admission)
    return Sending((letter,), linked(copy, letter, None), digest)


def _message_in(file: bytes) -> bytes:
    pieces = list(pieces_of(file))
    if len(pieces) != 1 or not pieces[0].is_message:
        raise SettingsInvalid("dead-letters", "--correct", "the file must hold one HL7 v2 message and nothing else")
    return pieces[0].content


async def _try_message(record: Record, copy: Outgoing, site: Site, admission: Admission) -> None:
    tried = replace(record, value=copy.value, headers=copy.headers)
    charset = tried.header(CHARSET) or site.default_charset
    found = inadmissible(Header.of(Message.parse(copy.value, charset)), admission, charset)
    if found is not None:
        raise UnsupportedMessage("dead-letters", found.field, f"the corrected copy would be refused again: {found.reason}")
    try:
        await normalise(tried, site=site)
    except Rejected as error:
        raise type(error)("dead-letters", error.reference, f"the corrected copy would fail again: {error.reason}") from None


async def _try_event(record: Record, copy: Outgoing, site: Site, admission: Admission) -> None:
    kind = SHAPES.get(replace(record, headers=copy.headers).header("ce_type") or "")
    if kind is None:
        return
    try:
        kind.model_validate_json(copy.value)
    except ValidationError as error:  # its text quotes the input
        where = ".".join(map(str, error.errors(include_input=False, include_url=False)[0]["loc"])) or "JSON"
        raise MalformedMessage("dead-letters", where, "the corrected copy would fail again") from None
