"""The time of a replay: that of the events it reads, never that of the wall."""

from __future__ import annotations

from datetime import UTC, datetime


class EventClock:
    """`Clock` that stands still but when it is told what time it is, and never goes back."""

    def __init__(self, now: datetime = datetime(1970, 1, 1, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        """Timezone-aware UTC."""
        return self._now

    def advance(self, moment: datetime) -> datetime:
        """To this moment, or not at all where it is over; returns what time it is."""
        self._now = max(self._now, moment)
        return self._now
