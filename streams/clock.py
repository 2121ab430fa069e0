"""Now, for the few that may ask: listener, guard, due sweeper. Steps never do."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """Implements schemas.ports.Clock."""

    def now(self) -> datetime:
        """Timezone-aware UTC."""
        return datetime.now(UTC)
