"""What may be selected together, and where the replay then starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.history import Span
from streams.replay.selection import Selection, Start

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "start", "topics"),
    [
        ({"since": NOON}, "analyse", {"ai.requests", "ai.requests.stat", "ai.requests.bulk"}),
        (
            {"since": NOON, "start_at": "normalise"},
            "normalise",
            {"hl7.v2.raw", "imaging.studies", "radstream.models", "ai.discrepancies"},
        ),
        ({"accession_numbers": ("A1",), "start_at": "analyse"}, "analyse", {"ai.requests", "ai.requests.stat", "ai.requests.bulk"}),
        (
            {"patients": ("4711",), "start_at": "correlate"},
            "correlate",
            {"imaging.orders", "imaging.reports", "imaging.patients", "imaging.studies", "radstream.models", "ai.discrepancies"},
        ),
        ({"models": ("chest/1",)}, "normalise", {"hl7.v2.raw", "imaging.studies", "radstream.models", "ai.discrepancies"}),
        ({"senders": ("HIS|H",), "since": NOON}, "normalise", {"hl7.v2.raw"}),
        ({"message_types": ("adt^a08", "ORM")}, "normalise", {"hl7.v2.raw"}),
        ({"places": ("hl7.v2.raw/0/1-5", "imaging.studies/1/7")}, "normalise", {"hl7.v2.raw", "imaging.studies"}),
        ({"places": ("imaging.studies/1/7", "imaging.orders/1/7")}, "correlate", {"imaging.studies", "imaging.orders"}),
        ({"places": ("ai.requests/1/7",)}, "analyse", {"ai.requests"}),
    ],
)
def test_what_is_read(asked: dict[str, Any], start: Start, topics: set[str]) -> None:
    selection = Selection(**asked)
    assert selection.start == start
    assert {topic.name for topic in selection.inputs} == topics
    assert Selection.model_validate_json(selection.model_dump_json()) == selection


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing is selected"),
        ({"start_at": "normalise"}, "nothing is selected"),
        ({"since": NOON, "until": NOON}, "range of time is empty"),
        ({"since": datetime(2026, 1, 1)}, "timezone"),
        ({"places": ("hl7.v2.raw/0/1",), "since": NOON}, "nothing else goes with them"),
        ({"places": ("hl7.v2.raw/0/5-5",)}, "END is the first offset that is no longer meant"),
        ({"places": ("hl7.v2.raw",)}, "is no TOPIC/PARTITION/FIRST-END"),
        ({"places": ("ai.results/0/1",)}, "no step that a replay can start at reads all of ai.results"),
        ({"places": ("ai.requests/0/1",), "start_at": "normalise"}, "does not read ai.requests"),
        ({"places": ("hl7.v2.raw/0/1-5", "hl7.v2.raw/0/4")}, "overlap"),
        ({"accession_numbers": ("A1",), "senders": ("HIS|H",)}, "a case comes whole"),
        ({"senders": ("HIS|H",), "start_at": "analyse"}, "starts at normalise"),
        ({"senders": ("HIS",)}, "senders"),
        ({"models": ("chest",)}, "models"),
        ({"message_types": ("ORM^O01^ORM_O01",)}, "message_types"),
    ],
)
def test_what_does_not_go_together(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Selection(**asked)


def test_a_single_place_may_be_written_as_records_are() -> None:
    assert Selection(places=("hl7.v2.raw/3/17",)).places == (Span("hl7.v2.raw", 3, 17, 18),)  # type: ignore[arg-type]


def test_patients_are_shown_to_nobody() -> None:
    selection = Selection(patients=("4711^HOSPITAL", "0815"), accession_numbers=("A1",))
    assert "4711" not in repr(selection)
    hidden = selection.without_patients(lambda patient: f"<{len(patient)}>")
    assert hidden.patients == ("<13>", "<4>")
    assert hidden.accession_numbers == ("A1",)
    with pytest.raises(ValidationError) as caught:
        Selection(patients=("DOE^JANE" * 40,))
    assert "DOE" not in str(caught.value)
