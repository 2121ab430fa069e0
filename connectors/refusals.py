"""What is said of callers who are refused: enough for whoever looks after the engine, and no more of one who does it again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import structlog

#: one line a minute for each that says the same, and memory for so many of them
_TELL_S, _TOLD = 60.0, 1000

_log = structlog.get_logger()


class Refusals:
    """The lines of one listener."""

    def __init__(self) -> None:
        self._told: dict[tuple[tuple[str, object], ...], float] = {}

    def warn(self, event: str, **said: Any) -> None:
        """Unless the same was said within the last minute."""
        key, now = (("event", event), *said.items()), time.monotonic()
        if now - self._told.get(key, -_TELL_S) >= _TELL_S:
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told[key] = now
            _log.warning(event, **said)


def raised_at(error: BaseException | None) -> str:
    """File and line where it was raised, not what it says: that may quote what was sent."""
    trace = None if error is None else error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
