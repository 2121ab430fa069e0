"""The numbers of a study's states: between two that `correlate` decides there is room for what is said of one of them later, so
that nobody needs a lock or a counter to say it.

    16n - 1   late: no answer came to the request of 16n
    16n       the request and its answer, or why the study is not analysed
    16n + 1   the same answer, marked: it came after a radiologist had verified the report
    16n + 2   the answer is withdrawn: its model was recalled
    16n + 3   what a replay said of this state, in the place of the answer; + 4 and + 5: the same marked, and withdrawn
    16n + 6, 16n + 9, 16n + 12   what other replays said of it after that one, likewise
"""

from __future__ import annotations

_ROOM = 16
LATE = -1
AFTER_VERIFICATION = 1
RECALLED = 2
PUBLISHED = 3


def next_after(last: int) -> int:
    """The number of the next state after `last` (0: none), whatever numbering `last` is of: even its "late" is later."""
    return -(-(last + _ROOM) // _ROOM) * _ROOM


def published_after(answer: int) -> int | None:
    """The number of what a replay says in the place of this answer (not of its mark), also of one that a replay had said. None:
    there is no room before what `correlate` decides next; so too for a few that were numbered when the room was four."""
    number = answer + PUBLISHED
    last = next_after(answer // _ROOM * _ROOM) + LATE
    return number if number // _ROOM == answer // _ROOM and number + RECALLED < last else None
