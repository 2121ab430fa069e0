"""A time as people type it means the same in every command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streams.asked_moments import asked_moment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-24T13:00", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("2026-11-24 13:00:01.5", datetime(2026, 11, 24, 12, 0, 1, 500_000, tzinfo=UTC)),
        ("2026-07-24T13:00", datetime(2026, 7, 24, 11, tzinfo=UTC)),
        ("2026-11-24T13:00Z", datetime(2026, 11, 24, 13, tzinfo=UTC)),
        (" 2026-11-24T13:00-05:00 ", datetime(2026, 11, 24, 18, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 23, 23, tzinfo=UTC)),
        ("2026-10-25T02:30+02:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2027-01-01", datetime(2026, 12, 31, 23, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("12H", NOW - timedelta(hours=12)),
        (" 7d", NOW - timedelta(days=7)),
    ],
)
def test_a_moment(text: str, utc: datetime) -> None:
    moment = asked_moment(text, BERLIN, NOW)
    assert moment.astimezone(UTC) == utc
    assert moment.tzinfo is BERLIN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "is no time of ISO 8601"),
        ("", "is no time of ISO 8601"),
        ("24.11.2026 13:00", "is no time of ISO 8601"),
        ("2026-13-01", "is no time of ISO 8601"),
        *((text, "90m, 24h, 7d") for text in ("7", "7y", "-7d", "7 d", "1234567d", "\N{ARABIC-INDIC DIGIT SEVEN}d")),
        ("2026-10-25T02:30", "say the offset"),  # twice
        ("2026-03-29T02:30", "say the offset"),  # never
        ("999999d", "before the year 1"),
        ("0001-01-01T00:00+14:00", "before the year 1"),
        ("9999-12-31T23:59-12:00", "behind the year 9999"),
    ],
)
def test_no_moment(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        asked_moment(text, BERLIN, NOW)


def test_not_all_of_a_long_text_is_said_again() -> None:
    with pytest.raises(ValueError) as caught:
        asked_moment("x" * 1000, BERLIN, NOW)
    assert len(str(caught.value)) < 250
