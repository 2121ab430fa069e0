"""`radstream model compare --since` takes a moment as every other command does."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.kafka_admin import TopicSize
from schemas.errors import SettingsInvalid
from streams.cli import app
from streams.clock import SystemClock
from streams.shadows import compare
from streams.shadows.comparing import Comparing, Comparison

BERLIN = {"RADSTREAM_SITE__TIME_ZONE": "Europe/Berlin", "RADSTREAM_CONFIG": ""}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[datetime | None]:
    """Since when it was compared."""
    moments: list[datetime | None] = []

    async def compared(log: object, sandbox: object, since: datetime | None, tell: object) -> Comparison:
        moments.append(since)
        return Comparing("next", since).comparison()

    def sizes(bootstrap: str, names: list[str]) -> dict[str, TopicSize]:
        return {name: TopicSize(1, 0) for name in names}

    monkeypatch.setattr(compare, "compared", compared)
    monkeypatch.setattr(compare, "topic_sizes", sizes)
    monkeypatch.setattr(compare, "configure_logging", lambda _: None)
    monkeypatch.setattr(compare, "log_for", nullcontext)
    return moments


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["model", "compare", "--sandbox", "next", *arguments], env=BERLIN)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30T08:00", datetime(2026, 11, 30, 7, tzinfo=UTC)),
        ("2026-11-30T08:00+05:00", datetime(2026, 11, 30, 3, tzinfo=UTC)),
        ("2026-11-30", datetime(2026, 11, 29, 23, tzinfo=UTC)),
    ],
)
def test_a_moment_is_of_the_sites_time_zone_or_says_its_offset(asked: list[datetime | None], text: str, moment: datetime) -> None:
    assert run("--since", text).exit_code == 0
    assert asked == [moment]


def test_a_moment_may_be_so_long_ago(asked: list[datetime | None]) -> None:
    assert run("--since", "24h").exit_code == run().exit_code == 0
    ago, never = asked
    assert ago is not None and never is None
    assert timedelta(hours=23) < SystemClock().now() - ago < timedelta(hours=25)


@pytest.mark.parametrize("text", ["yesterday", "2026-10-25T02:30", "2026-13-01"])
def test_what_is_no_moment_is_refused_before_anything_is_read(asked: list[datetime | None], text: str) -> None:
    refused = run("--since", text)
    assert isinstance(refused.exception, SettingsInvalid) and "compare: --since" in str(refused.exception)
    assert asked == []
