"""Times as the log keeps them: whole milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """The last one that is not behind it."""
    return (moment - _EPOCH) // _MILLISECOND


def ceiling(moment: datetime) -> int:
    """The first one that is not before it."""
    return -((_EPOCH - moment) // _MILLISECOND)


#: Kafka takes any 64 bits as a time; with a year of room, for others reckon with what we give
_EARLIEST, _LATEST = milliseconds(datetime(2, 1, 1, tzinfo=UTC)), milliseconds(datetime(9999, 1, 1, tzinfo=UTC))


def moment_of(milliseconds: int) -> datetime:
    """What is before the year 2, or behind 9998, counts as the first moment of 2, or of 9999."""
    return _EPOCH + min(max(milliseconds, _EARLIEST), _LATEST) * _MILLISECOND
