"""Queries that are kept: what was written comes back, later, and readable by nobody else."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import SettingsInvalid
from streams.replay.saved import Query, load, names, save
from streams.settings import Settings

NOW = datetime(2026, 11, 30, 4, tzinfo=UTC)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(run_folder=tmp_path / "run")


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), max_size=3).map(tuple)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, texts, st.sampled_from([None, "7d"]))
def test_what_was_saved_is_asked_again(
    here: Settings, patients: tuple[str, ...], senders: tuple[str, ...], since: str | None
) -> None:
    query = Query(patients=patients, senders=senders, since=since, start_at="correlate")
    save(here, "mine", query)
    assert load(here, "mine") == query
    assert names(here) == ["mine"]


def test_a_query_is_its_owners_alone(here: Settings) -> None:
    file = save(here, "mine", Query(patients=("4711",)))
    assert file == here.run_folder.parent / "replay" / "queries" / "mine.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    save(here, "mine", Query(patients=("4711",)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("since = ", "is not TOML"),
        ("sinse = '7d'", "sinse"),
        ("start_at = 'deliver'", "--start: is normalise, correlate or analyse"),
    ],
)
def test_a_file_that_is_no_query(here: Settings, content: str, said: str) -> None:
    save(here, "mine", Query(since="7d")).write_text(content)
    with pytest.raises(SettingsInvalid, match=said):
        load(here, "mine")


def test_names(here: Settings) -> None:
    save(here, "mine", Query(since="7d"))
    for name, said in (("other", "no saved query of this name .*: mine"), ("../mine", "lower-case letters"), ("", "lower-case")):
        with pytest.raises(SettingsInvalid, match=said):
            load(here, name)
    with pytest.raises(SettingsInvalid, match="nothing is selected"):
        save(here, "empty", Query())


def test_times() -> None:
    asked = Query(since="2026-11-23T08:00", until="12h").selection(ZoneInfo("Asia/Taipei"), NOW)
    assert (asked.since, asked.until) == (datetime(2026, 11, 23, tzinfo=UTC), NOW - timedelta(hours=12))
    with pytest.raises(SettingsInvalid, match="--since: 'yesterday' is no time"):
        Query(since="yesterday").selection(ZoneInfo("UTC"), NOW)


def test_what_is_given_beside_a_saved_query_counts() -> None:
    saved = Query(since="7d", senders=("RIS|H",), message_types=("ADT",))
    assert saved.overruled_by(Query(since="1d", senders=("HIS|H",))) == Query(
        since="1d", senders=("HIS|H",), message_types=("ADT",)
    )


def test_as_on_the_command_line() -> None:
    query = Query(since="7d", senders=("RIS|H", "HIS|H"), start_at="normalise")
    assert query.options() == ["--since", "7d", "--sender", "RIS|H", "--sender", "HIS|H", "--start", "normalise"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "nothing is selected"),
        ({"since": "1d", "until": "7d"}, "range of time is empty"),
        ({"senders": ("RIS",)}, r"--sender: is written MSH-3\|MSH-4"),
        ({"message_types": ("ORM^O01^ORM_O01",)}, "--type: is written as MSH-9"),
        ({"models": ("chest",)}, "--model: is written NAME/VERSION"),
        ({"places": ("hl7.v2.raw/0",)}, "is no TOPIC/PARTITION/FIRST-END"),
        ({"patients": ("DOE" * 100,)}, "--patient: "),
    ],
)
def test_what_is_wrong_is_told_by_the_option(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said) as caught:
        Query(**asked).selection(ZoneInfo("UTC"), NOW)
    assert "DOE" not in str(caught.value)
