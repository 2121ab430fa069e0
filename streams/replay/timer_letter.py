"""A timer that failed to the end, as a dead letter: nothing of the study would say so otherwise."""

from __future__ import annotations

from datetime import datetime

from schemas.case_store import Due
from schemas.errors import RadstreamError
from schemas.identifiers import identity
from schemas.ports import Outgoing
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import headers
from streams.topics import DEAD_LETTERS

#: in the place of the topic of a record, for there was none
_TIMER = "timer"


def timer_letter(due: Due, error: Exception, attempts: int, at: datetime) -> Outgoing:
    """Key: what the timer was about, mostly a study; `step`: timer.REASON. Of an error that is none of ours only the class is
    told."""
    said = f"{error.reference}: {error.reason}" if isinstance(error, RadstreamError) else "unexpected"
    step = f"{_TIMER}.{due.reason}"
    # before "topic" are the headers of what it was made of: two timers are two letters
    told = {
        "ce_id": str(due.id),
        "topic": _TIMER,
        "step": step,
        "error": type(error).__name__,
        "reason": f"the timer {due.reason} of {due.case}: {said}",
        "attempts": str(attempts),
    }
    id = str(identity("dead-letter", step, str(due.id)))
    ours = headers(id=id, type=DEAD_LETTER_TYPE, time=at, cause=None, content_type="application/octet-stream")
    own = tuple((name, value.encode("utf-8")) for name, value in told.items())
    return Outgoing(topic=DEAD_LETTERS.name, key=due.case.encode("utf-8"), value=b"", headers=own + ours)
