"""HL7 DTM/TS (v2.5.1 2.A.22): YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_DTM = re.compile(
    r"(?P<date>\d{8})(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?(\.(?P<fraction>\d{1,6})\d*)?"
    r"((?P<sign>[+-])(?P<offset_hours>\d{2})(?P<offset_minutes>\d{2}))?\Z"
)


def moment(text: str, zone: tzinfo) -> datetime | None:
    """UTC, of a time that says at least the minute; None for anything else (coarser, or not a time).

    A day alone would sort before every other event of that day, so it orders nothing. `zone` is for a time without
    offset; of an hour that the autumn clock change repeats, the first is meant."""
    found = _DTM.match(text.strip())
    if found is None:
        return None
    if found["sign"]:
        offset = timedelta(hours=int(found["offset_hours"]), minutes=int(found["offset_minutes"]))
        if offset >= timedelta(hours=24):
            return None
        zone = timezone(-offset if found["sign"] == "-" else offset)
    date = found["date"]
    try:
        return datetime(
            int(date[:4]),
            int(date[4:6]),
            int(date[6:]),
            int(found["hour"]),
            int(found["minute"]),
            int(found["second"] or 0),
            int((found["fraction"] or "").ljust(6, "0")),
            tzinfo=zone,
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
