"""A moment as people write it on a command line."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo


def moment_of(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """ISO 8601, in `zone` where it says no offset; a day alone is its first moment. Raises ValueError, which says what to write
    instead: no such time, one that the clocks skip or show twice, one after `now`."""
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time of ISO 8601: write it as 2026-11-30T14:05, or 2026-11-30T14:05:09+01:00") from None
    if read.tzinfo is None:
        first, second = (read.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
        if first != second:
            raise ValueError(f"the clocks of {zone.key} are changed at {text}: say the offset too, as in {text}+01:00")
        read = read.replace(tzinfo=zone)
    if read > now:
        raise ValueError(f"{text} is still to come: without --at, case shows what is known now")
    return read.astimezone(zone)
