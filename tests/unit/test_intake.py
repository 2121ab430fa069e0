"""What a listener puts on the log, and how answers that come later find their way back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from connectors.mllp.codes import Trouble
from connectors.mllp.conversations import Conversations
from connectors.mllp.dialogue import Dialogue, Received, Terms
from connectors.mllp.framing import Fault, Frame, Garbage
from schemas.errors import BrokerUnavailable
from schemas.ports import Outgoing
from streams.dead_letter import original_of
from streams.intake import _REMEMBERED, Intake
from streams.late_answers import LateAnswers
from streams.listen import terms_with
from streams.listener_settings import ListenerSettings
from streams.settings import Settings
from streams.tally import Tally, read_tallies
from streams.topics import DEAD_LETTERS, HL7_ACKNOWLEDGEMENTS, HL7_RAW
from tests.contract.fake_event_log import FakeEventLog

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UTF_8 = "UNICODE UTF-8"


def message(control_id: str = "C1", *, application: str = "", processing_id: str = "P", text: str = "x") -> bytes:
    return (
        f"MSH|^~\\&|RIS|H|||20260101||ORM^O01|{control_id}|{processing_id}|2.5.1|||{application}|{application}\rNTE|1||{text}\r"
    ).encode()


def received(item: bytes | Garbage, terms: Terms | None = None) -> list[Received]:
    dialogue = Dialogue(terms or Terms(), Conversations("process"), lambda answer: None)
    return dialogue.received(Frame(item) if isinstance(item, bytes) else item, "10.0.0.1:1", AT)


@pytest.fixture
def event_log() -> FakeEventLog:
    return FakeEventLog(HL7_RAW.name, DEAD_LETTERS.name, HL7_ACKNOWLEDGEMENTS.name)


@pytest.fixture
def intake(event_log: FakeEventLog) -> Intake:
    return Intake(event_log, UTF_8)


async def test_the_record_says_where_an_answer_is_owed(event_log: FakeEventLog, intake: Intake) -> None:
    await intake.store(received(message(application="AL")))
    await intake.store(received(message("C2", application="AL"), Terms(return_address="ris:1", codes={Trouble.CONTENT: "reject"})))
    await intake.store(received(message("C3")))
    told = [(one.header("answer-to"), one.header("answer-codes")) for one in event_log.records(HL7_RAW.name)]
    assert told == [("process/1/1", None), ("ris:1", "content=reject"), (None, None)]


async def test_what_the_site_does_not_take_is_kept_as_the_record_it_would_have_been(
    event_log: FakeEventLog, intake: Intake
) -> None:
    await intake.store(received(message(processing_id="T")))
    assert event_log.records(HL7_RAW.name) == []
    [letter] = event_log.records(DEAD_LETTERS.name)
    assert (letter.value, letter.key) == (message(processing_id="T"), b"RIS|H")
    assert (letter.header("error"), letter.header("step")) == ("UnsupportedMessage", "listen")
    assert (letter.header("reason") or "").startswith("MSH-11: ")
    again = original_of(letter)
    assert (again.topic, again.value, dict(again.headers)["peer"]) == (HL7_RAW.name, letter.value, b"10.0.0.1:1")


async def test_the_lines_of_a_batch_are_kept_with_its_messages(event_log: FakeEventLog, intake: Intake) -> None:
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + message("A") + message("B", processing_id="T") + b"BTS|2\rFTS|1\r"
    await intake.store(received(batch))
    [first], [second] = event_log.records(HL7_RAW.name), event_log.records(DEAD_LETTERS.name)
    assert [first.header("batch-before"), first.header("batch-behind")] == ["FHS|^~\\&\rBHS|^~\\&\r", None]
    assert [second.header("batch-before"), second.header("batch-behind")] == [None, "BTS|2\rFTS|1\r"]
    broken = b"FHS|^~\\&\rFTS|0\r"
    await intake.store(received(broken))
    assert [one.value for one in event_log.records(DEAD_LETTERS.name) if one.header("topic") == "mllp"] == [broken]


async def test_the_same_control_id_with_other_bytes_is_a_new_message_with_a_warning(
    event_log: FakeEventLog, intake: Intake
) -> None:
    with structlog.testing.capture_logs() as lines:
        for one in (message(), message(), message("C2"), message("C1")):
            await intake.store(received(one))
        assert lines == []
        await intake.store(received(message(text="SECRET")))
        await intake.store(received(message(text="SECRET")))
    assert [(line["event"], line["message_control_id"]) for line in lines] == [("another message with the same control id", "C1")]
    assert "SECRET" not in repr(lines)
    assert len(event_log.records(HL7_RAW.name)) == 6


async def test_a_bounded_number_of_control_ids_is_remembered(event_log: FakeEventLog, intake: Intake) -> None:
    for start in range(0, _REMEMBERED + 100, 500):
        await intake.store([one for number in range(500) for one in received(message(f"C{start + number}"))])
    assert len(intake._control_ids) == _REMEMBERED


async def test_what_is_refused_is_counted_when_it_is_stored(event_log: FakeEventLog, tmp_path: Path) -> None:
    intake = Intake(event_log, UTF_8, (), Tally(tmp_path, "listen", iter(range(0, 1000, 10)).__next__))
    event_log.away = True
    with pytest.raises(BrokerUnavailable):
        await intake.store(received(b"garbage"))
    event_log.away = False
    for item in (b"garbage", Garbage(b"stray", Fault.STRAY), message(processing_id="T"), message()):
        await intake.store(received(item))
    assert read_tallies(tmp_path)["listen"] == {
        "not used": {},
        "rejected": {"RIS|H": {"MSH-11": 1}},
        "garbage": {"10.0.0.1": {"a frame that holds no HL7 message": 1, "bytes outside a frame": 1}},
    }


def test_the_terms_of_a_peer_are_the_listeners_but_where_its_own_say_otherwise() -> None:
    one = ListenerSettings.model_validate(
        {
            "codes": {"content": "reject", "storage": "reject"},
            "return_address": "127.0.0.1:1",
            "commit_bytes": True,
            "peers": [
                {"address": "10.0.0.0/8", "codes": {"content": "error"}, "return_address": "127.0.0.1:2"},
                {"address": "10.0.0.1", "return_address": "127.0.0.1:3"},
            ],
        }
    )
    admission = Settings().admission
    assert terms_with("10.0.0.1", one, admission, "BIG-5") == Terms(
        admission, {Trouble.CONTENT: "error", Trouble.STORAGE: "reject"}, True, "127.0.0.1:2", "BIG-5"
    )
    for host in ("192.168.0.1", "gone", "::1"):
        assert terms_with(host, one, admission, "BIG-5") == Terms(
            admission, {Trouble.CONTENT: "reject", Trouble.STORAGE: "reject"}, True, "127.0.0.1:1", "BIG-5"
        )
    assert terms_with("::ffff:10.1.2.3", one, admission, "BIG-5").return_address == "127.0.0.1:2"


class Ear:
    """A connection that hears its late answers."""

    def __init__(self, late: LateAnswers) -> None:
        self.heard: list[bytes] = []
        self.changed = asyncio.Event()
        self.address = late.conversations.open(self._tell)

    def _tell(self, number: int, answer: bytes) -> None:
        self.heard.append(answer)
        self.changed.set()

    async def hears(self, *answers: bytes) -> None:
        async with asyncio.timeout(20):
            while self.heard != list(answers):
                self.changed.clear()
                await self.changed.wait()


def late_answer(to: str, answer: bytes, answer_id: str) -> Outgoing:
    return Outgoing(HL7_ACKNOWLEDGEMENTS.name, b"RIS|H", answer, (("ce_id", answer_id.encode()), ("answer-to", to.encode())))


async def test_a_late_answer_is_heard_once_by_its_own_connection_alone(event_log: FakeEventLog) -> None:
    late = LateAnswers(event_log, "process")
    ear, other = Ear(late), Ear(late)
    await event_log.append([late_answer(f"{ear.address}/1", b"before", "0"), late_answer("another/1/1", b"not ours", "1")])
    late.awaited()
    late.awaited()
    await ear.hears(b"before")
    await event_log.append([late_answer(f"{ear.address}/2", b"one", "2"), late_answer(f"{ear.address}/2", b"one", "2")])
    with structlog.testing.capture_logs() as lines:
        await event_log.append([late_answer("another/99/1", b"gone too", "5"), late_answer("process/99/1", b"gone", "3")])
        await event_log.append([late_answer(f"{ear.address}/3", b"two", "4")])
        await ear.hears(b"before", b"one", b"two")
    assert other.heard == []
    assert [line["event"] for line in lines] == ["an application answer finds no connection"], "of our own one that is gone"
    await late.stop()


async def test_a_bounded_number_of_late_answers_is_remembered(event_log: FakeEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.late_answers._REMEMBERED", 5)
    late = LateAnswers(event_log, "process")
    ear = Ear(late)
    await event_log.append([late_answer(f"{ear.address}/{number}", b"%d" % number, str(number)) for number in range(20)])
    late.awaited()
    await ear.hears(*(b"%d" % number for number in range(20)))
    assert len(late._seen) == 5
    await late.stop()


async def test_a_broker_that_goes_away_costs_no_answer(event_log: FakeEventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.late_answers._RETRY_S", 0.01)
    late = LateAnswers(event_log, "process")
    ear = Ear(late)
    await event_log.append([late_answer(f"{ear.address}/1", b"one", "1")])
    event_log.away = True
    late.awaited()
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(20):
            while not lines:
                await asyncio.sleep(0.01)
    event_log.away = False
    await ear.hears(b"one")
    await late.stop()


async def test_a_bug_in_one_answer_keeps_no_other_from_its_connection(
    event_log: FakeEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody heard of it before the role stopped, and no application answer came any more."""
    monkeypatch.setattr("streams.late_answers._RETRY_S", 0.01)
    late = LateAnswers(event_log, "process")
    ear = Ear(late)

    def breaks(number: int, answer: bytes) -> None:
        raise ValueError("SECRET")

    broken = late.conversations.open(breaks)
    await event_log.append([late_answer(f"{broken}/1", b"broken", "1"), late_answer(f"{ear.address}/1", b"one", "2")])
    with structlog.testing.capture_logs() as lines:
        late.awaited()
        await ear.hears(b"one")
        await late.stop()
    assert [(line["log_level"], line["error"]) for line in lines] == [("error", "ValueError")]
    assert "SECRET" not in repr(lines)
