"""Records whose time was still to come when they were written: some clock was ahead. In the order of time such a one would hold
back all that stands behind it in its partition, for years if it must."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from schemas.ports import Place

#: less than this is between any two clocks
TOLERANCE = timedelta(minutes=1)
#: records behind one that are its witnesses, and how many it takes at least
_WITNESSES = 32
_LEAST = 2


class Ahead:
    """Told of the records partition by partition, each in its order. `now`: when this is done, None: nobody knows. Ahead is what is
    later than this, or than most of those that stand behind it. Of what is merely too early nothing is held back."""

    def __init__(self, now: datetime | None) -> None:
        self._latest = None if now is None else now + TOLERANCE
        self._waiting: deque[tuple[Place, datetime, Callable[[], str]]] = deque()
        self._before: datetime | None = None
        #: of each the time that it is taken at, None: not known yet, its own, and whose it is
        self._found: dict[Place, tuple[datetime | None, datetime, str]] = {}
        self._edges: dict[str, tuple[datetime, datetime]] = {}

    def add(self, place: Place, at: datetime, whose: Callable[[], str] = str) -> None:
        """`whose`: asked of one that is ahead alone."""
        if self._waiting and (self._waiting[0][0].topic, self._waiting[0][0].partition) != (place.topic, place.partition):
            self._end_partition()
        self._waiting.append((place, at, whose))
        if len(self._waiting) > _WITNESSES:
            self._judge()

    def times(self) -> dict[str, datetime]:
        """By place, when each that is ahead is taken: with the next behind it, else with the one before, else first of all."""
        self._end_partition()
        earliest = min((first for first, _ in self._edges.values()), default=None)
        found = {place: at or earliest for place, (at, _, _) in self._found.items()}
        return {str(place): at for place, at in found.items() if at is not None}

    def own_times(self, topic: str) -> dict[str, tuple[datetime, ...]]:
        """What those that are ahead say themselves, in order, by whose they are; of whom nobody knows there is none."""
        self._end_partition()
        found: dict[str, list[datetime]] = {}
        for place, (_, own, whose) in self._found.items():
            if whose and place.topic == topic:
                found.setdefault(whose, []).append(own)
        return {whose: tuple(sorted(several)) for whose, several in found.items()}

    def edges(self) -> dict[str, tuple[datetime, datetime]]:
        """By topic, when the first and the last of its records are taken."""
        times, edges = self.times(), dict(self._edges)
        for place, (_, own, _) in self._found.items():
            _widen(edges, place.topic, times.get(str(place), own))
        return edges

    def _end_partition(self) -> None:
        while self._waiting:
            self._judge()
        self._before = None

    def _judge(self) -> None:
        """Of the oldest that waits."""
        place, at, whose = self._waiting.popleft()
        if self._is_ahead(at):
            behind = [one for _, one, _ in self._waiting if one < at and not self._is_to_come(one)]
            at_last = min((one for one in behind if self._before is None or one >= self._before), default=self._before)
            self._found[place] = at_last, at, whose()
            self._before = at_last
        else:
            _widen(self._edges, place.topic, at)
            self._before = at if self._before is None else max(self._before, at)

    def _is_ahead(self, at: datetime) -> bool:
        if self._is_to_come(at):
            return True
        if len(self._waiting) < _LEAST or at - TOLERANCE <= min(one for _, one, _ in self._waiting):
            return False
        behind = sorted(one for _, one, _ in self._waiting)
        return at - TOLERANCE > behind[len(behind) // 2]

    def _is_to_come(self, at: datetime) -> bool:
        return self._latest is not None and at > self._latest


def _widen(edges: dict[str, tuple[datetime, datetime]], topic: str, at: datetime) -> None:
    first, last = edges.get(topic, (at, at))
    edges[topic] = min(first, at), max(last, at)
