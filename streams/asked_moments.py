"""A moment as people write it on a command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

#: for the help of an option
TIME_HELP = "2026-11-30T08:00 (in the site's time zone, or with an offset), or 90m, 24h, 7d ago."

_AGO = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def asked_moment(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """ISO 8601, in `zone` where it says no offset; a day alone is its first moment. Or so long before `now`: 90m, 24h, 7d. Raises
    ValueError, which says what to write instead: no such time, one that the clocks skip or show twice."""
    text = text.strip()
    try:
        if ago := _AGO.fullmatch(text.lower()):
            return (now - timedelta(**{_UNITS[ago["unit"]]: int(ago["count"])})).astimezone(zone)
        return _written(text, zone).astimezone(zone)
    except OverflowError:
        raise ValueError(f"{text[:40]!r} is before the year 1, or behind the year 9999") from None


def _written(text: str, zone: ZoneInfo) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        advice = "write it as 2026-11-30T14:05, or 2026-11-30T14:05:09+01:00; or so long ago: 90m, 24h, 7d"
        raise ValueError(f"{text[:40]!r} is no time of ISO 8601: {advice}") from None
    if read.tzinfo is not None:
        return read
    first, second = (read.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    if first != second:
        raise ValueError(f"the clocks of {zone.key} are changed at {text}: say the offset too, as in {text}+01:00")
    return read.replace(tzinfo=zone)
