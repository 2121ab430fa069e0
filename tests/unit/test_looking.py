"""What `radstream tail` shows of a record: no patient data unless asked for."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage
from schemas.events import RAW_MESSAGE_TYPE
from schemas.ports import Headers, Place, Record
from streams.dead_letter import DEAD_LETTER_TYPE, dead_letter
from streams.looking import line_of, shown
from streams.printable import printable, printable_json
from streams.topics import DEAD_LETTERS, HL7_RAW, HL7_REJECTED, ORDERS, PATIENTS

AT = datetime(2026, 1, 1, tzinfo=UTC)
OUR_LISTENER: Headers = (("peer", b"10.0.0.1:1"),)


def record(topic: str, headers: Headers = ()) -> Record:
    return Record(Place(topic, 0, 7), b"4711", b'{"name":"DOE"}', headers, AT)


def letter(original: Record, topic: str = DEAD_LETTERS.name) -> Record:
    written = dead_letter(original, "step", MalformedMessage("step", "PID-3", "is none"), 1)
    return Record(Place(topic, 0, 0), written.key, written.value, written.headers, AT)


@pytest.mark.parametrize(
    ("which", "hidden"),
    [
        (record(ORDERS.name), False),
        (record(HL7_RAW.name, OUR_LISTENER), False),
        (letter(record(HL7_RAW.name, OUR_LISTENER)), False),
        (letter(record(ORDERS.name)), False),
        (record(PATIENTS.name), True),
        (letter(record(PATIENTS.name)), True),
        # a HIS that produces straight onto the topic takes the key that it likes
        (record(HL7_RAW.name), True),
        (letter(record(HL7_RAW.name)), True),
        (record(HL7_REJECTED.name), True),
        # a sandbox has them too
        (record(f"sandbox.r1.{ORDERS.name}"), False),
        (record(f"sandbox.r1.{PATIENTS.name}"), True),
        (record(f"sandbox.r1.{HL7_RAW.name}"), True),
        (record(f"sandbox.r1.{HL7_RAW.name}", OUR_LISTENER), False),
        (letter(record(f"sandbox.r1.{PATIENTS.name}"), f"sandbox.r1.{DEAD_LETTERS.name}"), True),
        (letter(record(PATIENTS.name), f"sandbox.r1.{DEAD_LETTERS.name}"), True),
        (letter(record(f"sandbox.r1.{PATIENTS.name}")), True),
    ],
)
def test_a_key_that_may_be_a_patients_number_is_hidden(which: Record, hidden: bool) -> None:
    assert shown(which, values=False)["key"] == ("(hidden)" if hidden else "4711")
    assert "DOE" not in json.dumps(shown(which, values=False))
    assert shown(which, values=True)["key"] == "4711"


#: as the HIS writes them that produces straight onto the topic
THEIRS: Headers = tuple((name, b"MRN-4711") for name in ("ce_id", "ce_source", "ce_type", "cause", "error", "step", "reason"))


@pytest.mark.parametrize("topic", [HL7_RAW.name, f"sandbox.r1.{HL7_RAW.name}"])
def test_a_header_that_the_his_wrote_is_hidden_as_the_key_is(topic: str) -> None:
    theirs = record(topic, THEIRS)
    assert "4711" not in json.dumps(shown(theirs, values=False))
    assert {shown(theirs, values=False)[name] for name in ("type", "id", "cause")} == {"(hidden)"}
    assert shown(theirs, values=True)["id"] == "MRN-4711"
    assert shown(record(topic), values=False)["cause"] is None
    as_agreed = record(topic, (("ce_type", RAW_MESSAGE_TYPE.encode()),))
    assert shown(as_agreed, values=False)["type"] == RAW_MESSAGE_TYPE


def test_the_headers_of_a_dead_letter_are_ours_whatever_its_original_has() -> None:
    told = shown(letter(record(HL7_RAW.name, THEIRS)), values=False)
    assert (told["type"], told["cause"], told["step"]) == (DEAD_LETTER_TYPE, f"{HL7_RAW.name}/0/7", "step")
    assert "MRN" not in json.dumps(told)


def test_nothing_of_a_record_speaks_to_the_terminal() -> None:
    hostile = "A\x1b[2J\x9b2J\u202eB\r\nC"
    record = Record(Place(ORDERS.name, 0, 7), hostile.encode(), hostile.encode(), (("ce_type", hostile.encode()),), AT)
    told = shown(record, values=True)
    line = line_of(told, as_json=False)
    assert line.isprintable()
    assert line.count("A\ufffd[2J\ufffd2J\ufffdB\ufffd\ufffdC") == 3
    assert line_of(told, as_json=True).isprintable()
    assert json.loads(line_of(told, as_json=True))["value"] == hostile


def test_letters_of_any_script_are_printable() -> None:
    text = "Müller 山田\u3000太郎 สมชาย प्रिया"
    assert printable(text) == text.replace("\u3000", " ")
    assert printable_json(["王", "\ud800", "\U000e0001"]) == '["王", "\\ud800", "\\udb40\\udc01"]'


def test_a_dead_letter_says_where_and_why() -> None:
    told = shown(letter(record(ORDERS.name)), values=False)
    assert (told["step"], told["error"], told["reason"]) == ("step", "MalformedMessage", "PID-3: is none")
