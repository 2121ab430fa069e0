"""The numbers of a study's states: between two that `correlate` decides there is room for what is said of one of them later, so
that nobody needs a lock or a counter to say it.

    4n - 1   late: no answer came to the request of 4n
    4n       the request and its answer, or why the study is not analysed
    4n + 1   the same answer, marked: it came after a radiologist had verified the report
    4n + 2   the answer is withdrawn: its model was recalled
"""

from __future__ import annotations

_ROOM = 4
LATE = -1
AFTER_VERIFICATION = 1
RECALLED = 2


def next_after(last: int) -> int:
    """The number of the next state after `last` (0: none), whatever numbering `last` is of: even its "late" is later."""
    return -(-(last + _ROOM) // _ROOM) * _ROOM
