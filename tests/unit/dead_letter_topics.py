"""What the tests of `radstream dead-letters` share: the topics in memory, records that failed, and who acts."""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.errors import MalformedMessage
from schemas.ports import Headers, Outgoing, Place, Record
from streams import topics
from streams.audit.acts import Actor
from streams.dead_letter import dead_letter
from streams.dead_letters.letters import Letter
from streams.dead_letters.standing import read_letters
from tests.contract.fake_event_log import FakeEventLog

AT = datetime(2026, 11, 30, 8, tzinfo=UTC)
OF = Actor("Pat Example", "the vendor has mended it")
PEER: Headers = (("ce_id", b"of the message"), ("peer", b"10.0.0.1:1"))
MESSAGE = b"MSH|^~\\&|RIS|TAICHUNG|||20261130||ORM^O01|1|P|2.5.1\rPID|1||\xff4711||DOE^JANE\rORC|NW|P1\r"


class FixedClock:
    def now(self) -> datetime:
        return AT


CLOCK = FixedClock()


def new_log() -> FakeEventLog:
    log = FakeEventLog(record_limit=topics.LARGEST_RECORD)
    for topic in topics.ALL:
        log.create(topic.name, topic.partitions)
    return log


def original(offset: int = 0, topic: topics.Topic = topics.HL7_RAW, headers: Headers = PEER, value: bytes = MESSAGE) -> Record:
    return Record(Place(topic.name, 0, offset), b"RIS|TAICHUNG", value, headers, AT)


def failed(record: Record, step: str = "normalise", error: Exception | None = None) -> Outgoing:
    wrong = "holds a byte that is not UNICODE UTF-8, at offset 61"
    return dead_letter(record, step, error or MalformedMessage(step, "PID-3", wrong), 1)


async def letter_in(log: FakeEventLog, *written: Outgoing) -> Letter:
    """The letter that is written last."""
    places = await log.append(written)
    found = await read_letters(log)
    return next(one for one in found.by_id.values() if one.place == places[-1])
