"""What the sender of a message on hl7.v2.raw is told of it after normalising."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.mllp.codes import Answer, Trouble
from schemas.errors import InvalidResource, MalformedMessage, MissingIdentifier, UnsupportedMessage
from schemas.events import MessageRejected
from schemas.hl7v2.acknowledgement import read_acknowledgement
from schemas.hl7v2.admission import Admission, Inadmissible
from schemas.hl7v2.header import Header
from schemas.ports import Headers, Outgoing, Place, Record
from streams.answering import Answering, answer_headers
from streams.tally import Tally, read_tallies
from streams.topics import HL7_ACKNOWLEDGEMENTS, HL7_RAW, HL7_REJECTED

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OUR_LISTENER: Headers = (("peer", b"10.0.0.1:1"),)
EVENT = Outgoing("imaging.orders", b"A1", b"{}")


def message(*, application: str = "AL", kind: str = "ORM^O01", processing_id: str = "P", control_id: str = "C1") -> bytes:
    return (f"MSH|^~\\&|RIS|H|||20260101||{kind}|{control_id}|{processing_id}|2.5.1|||AL|{application}\rPID|||SECRET\r").encode()


def record(value: bytes, headers: Headers = (), offset: int = 7) -> Record:
    return Record(Place(HL7_RAW.name, 2, offset), b"RIS|H", value, headers, AT)


def asked(to: str = "process/1/1", codes: Mapping[Trouble, Answer] | None = None) -> Headers:
    return (*OUR_LISTENER, *answer_headers(to, codes or {}))


class House:
    def __init__(self, folder: Path, admission: Admission | None = None) -> None:
        self.calls, self.now = 0, 0.0
        self.folder = folder
        self.answering = Answering(self.step, admission or Admission(), "UNICODE UTF-8", Tally(folder, "work-normalise", self))

    def __call__(self) -> float:
        """A clock that runs fast: every count is written at once."""
        self.now += 10
        return self.now

    async def step(self, record: Record) -> Sequence[Outgoing]:
        self.calls += 1
        return [EVENT]

    @property
    def counts(self) -> object:
        return read_tallies(self.folder)["work-normalise"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_the_application_answer_goes_out_with_the_events(house: House) -> None:
    event, answer = await house.answering(record(message(), asked()))
    assert event == EVENT
    assert (answer.topic, answer.key) == (HL7_ACKNOWLEDGEMENTS.name, b"RIS|H")
    read = read_acknowledgement(answer.value)
    assert (read.code, read.message_control_id) == ("AA", "C1")
    headers = dict(answer.headers)
    assert (headers["answer-to"], headers["cause"]) == (b"process/1/1", b"hl7.v2.raw/2/7")
    assert headers["ce_type"] == b"org.radstream.hl7v2.acknowledgement.v1"
    assert b"SECRET" not in answer.value


async def test_done_again_it_is_the_same_and_a_resend_has_its_own(house: House) -> None:
    first, again = [await house.answering(record(message(), asked())) for _ in range(2)]
    assert list(first) == list(again)
    resent = await house.answering(record(message(), asked(), offset=8))
    assert dict(resent[1].headers)["ce_id"] != dict(first[1].headers)["ce_id"]


@pytest.mark.parametrize(("application", "good", "bad"), [("AL", 1, 1), ("NE", 0, 0), ("ER", 0, 1), ("SU", 1, 0)])
async def test_msh_16_says_what_is_wanted(house: House, application: str, good: int, bad: int) -> None:
    one = record(message(application=application), asked())
    assert len(await house.answering(one)) == 1 + good
    assert len(house.answering.refusal(one, MalformedMessage("normalise", "ORC", "no"))) == bad


async def test_who_did_not_ask_is_not_answered(house: House) -> None:
    assert list(await house.answering(record(message(), OUR_LISTENER))) == [EVENT]
    assert list(await house.answering(record(message()))) == [EVENT]
    assert list(house.answering.refusal(record(message(), OUR_LISTENER), MalformedMessage("normalise", "ORC", "no"))) == []


async def test_an_answer_to_a_return_address_wants_a_commit_answer_itself(house: House) -> None:
    for to, accept in (("ris.hospital:2576", "AL"), ("process/1/1", "NE")):
        _, answer = await house.answering(record(message(), asked(to)))
        told = Header.read(answer.value)
        assert (told.field(15), told.field(16)) == (accept, "NE")


@pytest.mark.parametrize(
    ("error", "code", "condition", "location"),
    [
        (MissingIdentifier("normalise", "PID-3", "none"), "AE", "101", b"PID^1^3"),
        (MissingIdentifier("normalise", "group 2", "none"), "AE", "101", b""),
        (UnsupportedMessage("normalise", "ORC-1 of group 2", "unread"), "AE", "103", b"ORC^2^1"),
        (UnsupportedMessage("read", "MSH-18", "unread"), "AR", "103", b"MSH^1^18"),
        (UnsupportedMessage("read", "MSH-9", "byte"), "AR", "103", b"MSH^1^9"),
        (MalformedMessage("normalise", "IPC-1.2", "byte"), "AE", "102", b"IPC^1^1^1^2"),
        (MalformedMessage("normalise", "OBR", "none"), "AE", "100", b"OBR^1"),
        (MalformedMessage("read", "MSH", "no MSH"), "AR", "100", b"MSH^1"),
        (InvalidResource("normalise", "x", "too large"), "AE", "102", b""),
        (ValueError("SECRET"), "AE", "207", b""),
    ],
)
def test_an_error_of_the_normaliser_in_the_words_of_table_0357(
    house: House, error: Exception, code: str, condition: str, location: bytes
) -> None:
    [answer] = house.answering.refusal(record(message(), asked()), error)
    read = read_acknowledgement(answer.value)
    assert (read.code, read.condition) == (code, condition)
    assert b"\rERR||" + location + b"|" in answer.value
    assert b"SECRET" not in answer.value


def test_what_was_agreed_with_the_peer_holds_here_too(house: House) -> None:
    error = MissingIdentifier("normalise", "PID-3", "none")
    agreed = asked(codes={Trouble.CONTENT: "reject", Trouble.STORAGE: "reject"})
    [answer] = house.answering.refusal(record(message(), agreed), error)
    assert read_acknowledgement(answer.value).code == "AR"
    nonsense = (*asked(), ("answer-codes", b"content=maybe weather=error \xff="))
    [answer] = house.answering.refusal(record(message(), nonsense), error)
    assert read_acknowledgement(answer.value).code == "AE"


async def test_what_the_site_does_not_take_reaches_no_step(house: House) -> None:
    test_message = record(message(processing_id="T"))
    with pytest.raises(Inadmissible) as refused:
        await house.answering(test_message)
    assert house.calls == 0
    [told] = house.answering.refusal(test_message, refused.value)
    event = MessageRejected.model_validate_json(told.value)
    assert (event.code, event.conditions[0].code, event.conditions[0].location) == ("AR", "202", "MSH^1^11")


def test_who_came_past_our_listeners_is_told_on_a_topic(house: House) -> None:
    refused = record(message(), ())
    [told] = house.answering.refusal(refused, MissingIdentifier("normalise", "PID-3", "holds no patient identifier"))
    assert (told.topic, told.key) == (HL7_REJECTED.name, refused.key)
    event = MessageRejected.model_validate_json(told.value)
    assert (event.message_control_id, event.code, event.place) == ("C1", "AE", "hl7.v2.raw/2/7")
    assert [(one.code, one.text, one.location) for one in event.conditions] == [("101", "Required field missing", "PID^1^3")]
    assert "holds no patient identifier" in event.conditions[0].message
    assert [told] == list(house.answering.refusal(refused, MissingIdentifier("normalise", "PID-3", "holds no patient identifier")))
    assert "SECRET" not in told.value.decode()


def test_even_what_is_no_message_is_told_with_its_key(house: House) -> None:
    garbage = Record(Place(HL7_RAW.name, 0, 1), b"PATIENT-4711", b"garbage", (), AT)
    [told] = house.answering.refusal(garbage, MalformedMessage("read", "MSH", "no MSH"))
    event = MessageRejected.model_validate_json(told.value)
    assert (told.key, event.message_control_id, event.code) == (b"PATIENT-4711", "", "AR")
    assert event.conditions[0].message == "no MSH"
    assert "4711" not in str(house.counts), "the producer's key may be a patient's number: it is neither counted nor logged"


async def test_utf_16_is_judged_too(house: House) -> None:
    with pytest.raises(Inadmissible):
        await house.answering(record(message(processing_id="T").decode().encode("utf-16")))
    assert len(await house.answering(record(message().decode().encode("utf-16")))) == 1


async def test_a_receiver_is_known_in_the_character_set_of_the_listener(tmp_path: Path) -> None:
    house = House(tmp_path, Admission(receiving_facilities=("醫院",)))
    to_us = message().replace(b"|RIS|H|||", "|RIS|H||醫院|".encode("big5"))
    assert len(await house.answering(record(to_us, (("charset", b"BIG-5"),)))) == 1
    with pytest.raises(Inadmissible):
        await house.answering(record(to_us))


async def test_what_is_not_used_and_what_is_refused_is_counted(house: House) -> None:
    await house.answering(record(message(kind="ADT^A60")))
    await house.answering(record(message(kind="DOE^JANE")))
    await house.answering(record(message()))
    house.answering.refusal(record(message()), MissingIdentifier("normalise", "PID-3", "none"))
    assert house.counts == {
        "not used": {"ADT^A60": {"": 1}, "other": {"": 1}},
        "rejected": {"RIS|H": {"MissingIdentifier": 1}},
        "garbage": {},
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.one_of(
        st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"MSH|^~\\&|" + tail), st.just(b"MSH\r\r\r\r\r\r")
    ),
    headers=st.lists(st.tuples(st.sampled_from(["peer", "answer-to", "answer-codes"]), st.binary(max_size=20)), max_size=3).map(
        tuple
    ),
    error=st.sampled_from([MalformedMessage("read", "MSH", "no"), MissingIdentifier("normalise", "PID-3", "no"), ValueError()]),
)
def test_telling_never_fails(house: House, value: bytes, headers: Headers, error: Exception) -> None:
    """A record on which it did would block the line."""
    for told in house.answering.refusal(record(value, headers), error):
        assert told.topic in (HL7_REJECTED.name, HL7_ACKNOWLEDGEMENTS.name)
