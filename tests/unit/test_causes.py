"""Where a record stands, as text; what it was made of; and whether a person published it from a replay."""

from __future__ import annotations

import pytest

from schemas.ports import Place, Record
from streams.causes import cause_of, replay_of
from tests.unit.cases import NOON


def made_of(cause: str, topic: str = "ai.results") -> Record:
    return Record(Place(topic, 0, 0), None, b"", (("cause", cause.encode()),), NOON)


@pytest.mark.parametrize("place", [Place("ai.requests", 3, 7), Place("sandbox.last-week.ai.results", 0, 10**17)])
def test_a_place_is_read_as_it_is_written(place: Place) -> None:
    assert Place.parse(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ai.requests",
        "ai.requests/0",
        "a b/0/1",
        "../0/1",
        "./0/1",
        "a/0/1\n",
        "a/0/-1",
        "a/0/1/2",
        "a/\u0663/1",
        "a/0/" + "9" * 19,
    ],
)
def test_whatever_else_stands_there_is_none(text: str) -> None:
    assert Place.parse(text) is None


@pytest.mark.parametrize(
    ("cause", "topic", "live", "replay"),
    [
        ("ai.requests/0/1", "ai.results", Place("ai.requests", 0, 1), None),
        ("sandbox.last-week.ai.results/0/1", "ai.results", None, "last-week"),
        ("sandbox.last-week.ai.requests/0/1", "sandbox.last-week.ai.results", None, None),
        ("strangers.own/0/1", "hl7.v2.raw", None, None),
        ("sandbox.last-week.strangers.own/0/1", "ai.results", None, None),
        ("sandbox", "ai.results", None, None),
    ],
)
def test_what_it_was_made_of(cause: str, topic: str, live: Place | None, replay: str | None) -> None:
    record = made_of(cause, topic)
    assert (cause_of(record), replay_of(record)) == (live, replay)
