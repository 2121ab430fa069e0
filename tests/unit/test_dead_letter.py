"""A dead letter keeps the original, says why, and holds nothing of the content in its own words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from schemas.errors import MalformedMessage, ResourceRefused
from schemas.ports import Outgoing, Place, Record
from streams.dead_letter import OUTCOME_LIMIT, dead_letter, original_of
from streams.topics import DEAD_LETTER_ROOM, DEAD_LETTERS, RECORD_LIMIT

ORIGINAL = Record(
    Place("hl7.v2.raw", 2, 41),
    b"PACS|HOSPITAL",
    b"MSH|^~\\&|\xff\x00",
    (("ce_id", b"original"), ("topic", b"a foreign header of that name"), ("content-type", b"x-application/hl7-v2+er7")),
    datetime(2026, 3, 1, 12, tzinfo=UTC),
)


def read(letter: Outgoing) -> Record:
    return Record(Place(letter.topic, 0, 0), letter.key, letter.value, letter.headers, ORIGINAL.timestamp)


def test_the_original_and_where_it_stood() -> None:
    letter = dead_letter(
        ORIGINAL, "normalise", MalformedMessage("normalise", "PID-3", "holds a byte that is not ASCII, at offset 9"), 3
    )
    assert (letter.topic, letter.key, letter.value) == (DEAD_LETTERS.name, ORIGINAL.key, ORIGINAL.value)
    assert letter.headers[: len(ORIGINAL.headers)] == ORIGINAL.headers
    told = {name: read(letter).header(name) for name in ("topic", "partition", "offset", "step", "error", "reason", "attempts")}
    assert told == {
        "topic": "hl7.v2.raw",
        "partition": "2",
        "offset": "41",
        "step": "normalise",
        "error": "MalformedMessage",
        "reason": "PID-3: holds a byte that is not ASCII, at offset 9",
        "attempts": "3",
    }
    assert read(letter).header("cause") == "hl7.v2.raw/2/41"
    assert read(letter).header("content-type") == "x-application/hl7-v2+er7"


def test_made_twice_it_is_the_same() -> None:
    error = MalformedMessage("normalise", "r", "x")
    assert dead_letter(ORIGINAL, "normalise", error, 1) == dead_letter(ORIGINAL, "normalise", error, 1)
    other = dead_letter(ORIGINAL, "project", error, 1)
    assert read(other).header("ce_id") != read(dead_letter(ORIGINAL, "normalise", error, 1)).header("ce_id")


def test_the_text_of_an_unexpected_exception_is_not_told() -> None:
    letter = dead_letter(ORIGINAL, "normalise", ValueError("invalid literal 'Doe^Jane'"), 1)
    assert b"Doe" not in b"".join(value for _, value in letter.headers)
    assert read(letter).header("error") == "ValueError"


def test_the_receivers_outcome_is_kept_and_cut() -> None:
    outcome = b'{"resourceType":"OperationOutcome"' + b" " * OUTCOME_LIMIT
    letter = dead_letter(ORIGINAL, "deliver", ResourceRefused("deliver", "r", "422", outcome), 1)
    assert dict(letter.headers)["operation-outcome"] == outcome[:OUTCOME_LIMIT]


def test_the_largest_record_fits_as_a_dead_letter() -> None:
    largest = Record(ORIGINAL.place, b"k", bytes(RECORD_LIMIT), (), ORIGINAL.timestamp)
    letter = dead_letter(largest, "deliver", ResourceRefused("deliver", "r", "é" * 10_000, b"x" * 10_000_000), 15)
    size = len(letter.value) + sum(len(name) + len(value) for name, value in letter.headers)
    assert size < RECORD_LIMIT + DEAD_LETTER_ROOM - 1024
    assert int(DEAD_LETTERS.config["max.message.bytes"]) == RECORD_LIMIT + DEAD_LETTER_ROOM


def test_back_to_the_original() -> None:
    letter = dead_letter(ORIGINAL, "normalise", MalformedMessage("normalise", "r", "x"), 1)
    assert original_of(read(letter)) == Outgoing("hl7.v2.raw", ORIGINAL.key, ORIGINAL.value, ORIGINAL.headers)


def test_sent_again_it_was_never_tried() -> None:
    tried = (("attempts", b"15"), ("parked-from", b"ai.requests/0/7"), ("ce_id", b"x"))
    parked = Record(Place("ai.requests", 0, 9), b"k", b"v", tried, ORIGINAL.timestamp)
    letter = dead_letter(parked, "analyse", MalformedMessage("analyse", "r", "x"), 15)
    assert original_of(read(letter)).headers == (("ce_id", b"x"),)


def test_what_is_no_dead_letter() -> None:
    plain = Record(Place(DEAD_LETTERS.name, 0, 0), None, b"", (), ORIGINAL.timestamp)
    with pytest.raises(ValueError, match="no dead letter"):
        original_of(plain)
