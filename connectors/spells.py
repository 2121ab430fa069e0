"""Something that goes on for a while, such as a peer that refuses everything: one line when it begins and one when it ends."""

from __future__ import annotations

import threading


class Spell:
    """For several threads: of all who notice it, one begins it and one ends it."""

    def __init__(self) -> None:
        self._lasts = False
        self._lock = threading.Lock()

    @property
    def lasts(self) -> bool:
        return self._lasts

    def begin(self) -> bool:
        """Whether it begins now."""
        return self._turn(True)

    def end(self) -> bool:
        """Whether it ends now."""
        return self._turn(False)

    def _turn(self, lasts: bool) -> bool:
        with self._lock:
            turned, self._lasts = self._lasts != lasts, lasts
        return turned
