"""What is sent again is the original for the step that failed, told on the audit before and after; a crash loses nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from schemas.acts import DeadLetterResent
from schemas.errors import BrokerUnavailable, Rejected, SettingsInvalid, UnsupportedMessage
from schemas.hl7v2.admission import Admission
from schemas.hl7v2.site import Site
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.dead_letters.again import again, objection
from streams.dead_letters.choosing import Filter, chosen
from streams.dead_letters.correcting import corrected
from streams.dead_letters.letters import Letter
from streams.dead_letters.planning import plan_of, sendings
from streams.dead_letters.sending import Pace, Resender
from streams.dead_letters.standing import read_letters, record_of
from streams.due import PARKED_BY
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.dead_letter_topics import AT, CLOCK, MESSAGE, OF, PEER, failed, letter_in, new_log, original

DESTINATIONS = ["fhir"]
MENDED = MESSAGE.replace(b"\xff4711", b"4711")


class Slow:
    """Time that passes only when somebody waits for it."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


def pace(rate: float = 400.0, time: Slow | None = None) -> Pace:
    time = time or Slow()
    return Pace(rate, time.now, time.sleep)


async def resend(log: FakeEventLog, *, rate: float = 400.0, time: Slow | None = None) -> Resender:
    letters = await read_letters(log)
    plan = await plan_of(log, chosen(letters, Filter()), DESTINATIONS)
    resender = Resender(log, OF, CLOCK, pace(rate, time))
    await resender.send(sendings(log, plan), lambda _: None)
    return resender


def acts(log: FakeEventLog) -> list[DeadLetterResent]:
    return [DeadLetterResent.model_validate_json(record.value) for record in log.records(topics.AUDIT.name)]


async def test_the_original_is_sent_to_the_step_that_failed_and_to_no_other() -> None:
    log = new_log()
    owed = (*PEER, ("answer-to", b"10.0.0.1:2"), ("answer-codes", b"content=reject"), ("parked-by", b"x"), ("attempts", b"15"))
    letter = await letter_in(log, failed(original(headers=owed)))
    assert (await resend(log)).sent == 1
    (sent,) = log.records(topics.HL7_RAW.name)
    assert (sent.key, sent.value) == (b"RIS|TAICHUNG", MESSAGE)
    # the sender had its answer; what was tried before counts no more
    assert sent.headers == (*PEER, (PARKED_BY, b"normalise"), ("resent-from", str(letter.place).encode()))
    assert [(act.outcome, act.letter, act.letter_id, act.by) for act in acts(log)] == [
        ("begun", str(letter.place), letter.id, OF.by),
        ("done", str(letter.place), letter.id, OF.by),
    ]
    assert (await resend(log)).sent == 0


async def test_what_a_listener_refused_has_been_nowhere_and_is_for_all_readers() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original(), "listen"))
    sent = again(await record_of(FakeHistory(log), letter), letter)
    assert PARKED_BY not in dict(sent.headers)


async def test_an_answer_that_could_not_be_given_still_knows_where_to() -> None:
    log = new_log()
    owed = (("answer-to", b"10.0.0.1:2"),)
    letter = await letter_in(log, failed(original(topic=topics.HL7_ACKNOWLEDGEMENTS, headers=owed), "answer.10.0.0.1:2"))
    assert again(await record_of(FakeHistory(log), letter), letter).headers[:1] == owed


async def test_what_fails_again_is_a_new_letter_that_names_the_first() -> None:
    log = new_log()
    first = await letter_in(log, failed(original()))
    await resend(log)
    (sent,) = log.records(topics.HL7_RAW.name)
    second = await letter_in(log, failed(sent))
    letters = await read_letters(log)
    assert second.id != first.id
    assert chosen(letters, Filter()) == [second]
    assert letters.came_back(first) == [second]
    await resend(log)
    _, sent_again = log.records(topics.HL7_RAW.name)
    assert [value for name, value in sent_again.headers if name == "resent-from"] == [str(second.place).encode()]


@pytest.mark.parametrize(
    ("topic", "step", "why"),
    [
        ("mllp", "listen", "radstream send FILE"),
        ("orthanc:changes", "watch", "is no topic"),
        ("dicom", "watch", "is no topic"),
        ("sandbox.x.ai.results", "report", "is no topic"),
        ("radstream.models", "correlate", "done again"),
        ("radstream.audit", "x", "done again"),
        ("ai.findings", "deliver.gone", "no destination of the settings is called gone"),
    ],
)
async def test_what_cannot_be_sent_again_is_refused_with_what_to_do(topic: str, step: str, why: str) -> None:
    log = new_log()
    letter = await letter_in(log, failed(replace(original(), place=Place(topic, 0, 0)), step))
    assert why in (objection(letter, DESTINATIONS) or "")
    plan = await plan_of(log, [letter], DESTINATIONS)
    assert (plan.letters, [one for one, _ in plan.refused]) == (0, [letter])
    assert any(line.startswith("1 not: ") and why in line for line in plan.lines())


class Breaking(FakeEventLog):
    """The broker goes away after so many appends."""

    appends = -1

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        if self.appends == 0:
            raise BrokerUnavailable("append", "x", "gone")
        self.appends -= 1
        return await super().append(records)


@pytest.mark.parametrize("appends", range(7))
async def test_stopped_anywhere_the_same_again_sends_the_rest(appends: int) -> None:
    """What may have been sent is sent with the same identity; what is known to be sent is not sent again."""
    log = Breaking(record_limit=topics.LARGEST_RECORD)
    log.topics = new_log().topics
    await log.append([failed(original(number)) for number in range(300)])
    log.appends = appends
    with pytest.raises(BrokerUnavailable):
        await resend(log)
    done = {act.letter_id for act in acts(log) if act.outcome == "done"}
    before = len(log.records(topics.HL7_RAW.name))
    log.appends = -1
    assert (await resend(log)).sent == 300 - len(done)
    sent = log.records(topics.HL7_RAW.name)
    assert len(sent) == before + 300 - len(done)
    assert len({one.headers for one in sent}) == 300
    assert before - len(done) in (0, 100)  # of one batch it is not known


async def test_an_act_is_told_before_it_is_done() -> None:
    log = new_log()
    await log.append([failed(original())])
    told: list[str] = []

    class Watched(FakeEventLog):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            told.extend(record.topic for record in records)
            return await super().append(records)

    watched = Watched(record_limit=topics.LARGEST_RECORD)
    watched.topics = log.topics
    await resend(watched)
    assert told == [topics.AUDIT.name, topics.HL7_RAW.name, topics.AUDIT.name]


async def test_a_record_that_the_broker_never_takes_is_told_and_keeps_no_other_back() -> None:
    class Narrow(FakeEventLog):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            if any(record.value.startswith(b"large") for record in records):
                raise Rejected("append", "x", "too large")
            return await super().append(records)

    log = Narrow(record_limit=topics.LARGEST_RECORD)
    log.topics = new_log().topics
    plain = new_log()
    plain.topics = log.topics
    await plain.append([failed(original(number, value=b"large" if number == 3 else b"small")) for number in range(5)])
    resender = await resend(log)
    assert (resender.sent, [why for _, why in resender.failed]) == (4, ["too large"])
    assert len(log.records(topics.HL7_RAW.name)) == 4
    (left,) = chosen(await read_letters(log), Filter())
    assert (await read_letters(log)).state(left) == "open"


async def test_not_faster_than_was_asked_for() -> None:
    log, time = new_log(), Slow()
    await log.append([failed(original(number)) for number in range(500)])
    await resend(log, rate=50.0, time=time)
    assert time.at == pytest.approx((500 - 12) / 50, abs=0.5)


# ------------------------------------------------------------------------------------------------ corrected copies


async def copied(log: FakeEventLog, letter: Letter, file: bytes, admission: Admission | None = None) -> Record:
    """What would be sent, as a record."""
    sending = await corrected(
        await record_of(FakeHistory(log), letter), letter, file, Site(default_assigner="H"), admission or Admission()
    )
    assert sending.corrected_sha256 == hashlib.sha256(sending.record.value).hexdigest()
    return Record(Place(sending.record.topic, 0, 0), sending.record.key, sending.record.value, sending.record.headers, AT)


async def test_a_corrected_copy_is_a_message_of_its_own_for_all_readers_linked_to_its_letter() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    copy = await copied(log, letter, b"\x0b" + MENDED + b"\x1c\r")
    assert (copy.place.topic, copy.key, copy.value) == (topics.HL7_RAW.name, b"RIS|TAICHUNG", MENDED)
    assert copy.header("resent-from") == str(letter.place)
    assert copy.header("peer") == "10.0.0.1:1"
    assert copy.header(PARKED_BY) is None
    assert copy.header("ce_id") not in (None, "of the message")
    assert copy == await copied(log, letter, MENDED)
    assert log.records(topics.DEAD_LETTERS.name)[0].value == MESSAGE


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (MESSAGE, "nothing is corrected"),
        (MENDED + MENDED, "one HL7 v2 message"),
        (b"", "one HL7 v2 message"),
        (b"a letter to the editor", "one HL7 v2 message"),
        (MESSAGE.replace(b"|P1", b"|P2"), "PID-3"),
        (MENDED.replace(b"ORC|NW", b"ORC|??"), "ORC-1 of group 1"),
    ],
)
async def test_a_copy_that_would_fail_again_is_not_sent(file: bytes, why: str) -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    with pytest.raises((SettingsInvalid, Rejected), match=why):
        await copied(log, letter, file)


async def test_nor_one_that_the_site_does_not_take() -> None:
    log = new_log()
    letter = await letter_in(log, failed(original()))
    with pytest.raises(UnsupportedMessage, match="would be refused again"):
        await copied(log, letter, MENDED.replace(b"|P|2.5.1", b"|T|2.5.1"), Admission(processing_ids=("P",)))


async def test_an_event_is_corrected_in_its_own_shape() -> None:
    log = new_log()
    typed = (("ce_type", b"org.radstream.study.noticed.v1"),)
    letter = await letter_in(log, failed(original(topic=topics.NOTICES, headers=typed, value=b"{}"), "complete"))
    with pytest.raises(Rejected, match="would fail again"):
        await copied(log, letter, b'{"id": 1}')


@pytest.mark.parametrize("topic", [topics.RESULTS, topics.FINDINGS, topics.REQUESTS, topics.DELIVERIES])
async def test_what_was_made_here_is_nobodys_to_correct(topic: topics.Topic) -> None:
    log = new_log()
    letter = await letter_in(log, failed(original(topic=topic), "project"))
    with pytest.raises(SettingsInvalid, match="made here"):
        await copied(log, letter, b"{}")
