"""What a closed segment is called in the object store: segments/TOPIC/PARTITION/FIRST-END-LATEST.zst.

All that must be known without opening a file stands in its name: which offsets it covers (two that overlap do no harm, for neither
takes the other's name, and `streams.segments.division` says which is read), and until when its records go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.history import Span
from schemas.moments import milliseconds, moment_of
from schemas.ports import ObjectStore

FOLDER = "segments"
_NAME = re.compile(
    rf"{FOLDER}/(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>\d+)/(?P<first>\d{{20}})-(?P<end>\d{{20}})"
    r"-(?P<latest>\d{8}T\d{9})Z\.zst\Z",
    re.ASCII,
)
_LATEST = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """`span`: every record that the log had there; `latest`: of their timestamps, in ms since 1970."""

    topic: str
    partition: int
    first: int
    end: int
    latest: int

    @property
    def span(self) -> Span:
        return Span(self.topic, self.partition, self.first, self.end)

    def __str__(self) -> str:
        moment = moment_of(self.latest)
        latest = f"{moment.year:04}{moment:%m%dT%H%M%S%f}"[:-3]  # %Y has fewer digits before the year 1000
        return f"{FOLDER}/{self.topic}/{self.partition}/{self.first:020d}-{self.end:020d}-{latest}Z.zst"


def segment_name(name: str) -> SegmentName | None:
    """None for an object that is no segment."""
    found = _NAME.match(name)
    if found is None:
        return None
    try:
        latest = milliseconds(datetime.strptime(found["latest"] + "000", _LATEST).replace(tzinfo=UTC))
    except ValueError:
        return None
    first, end = int(found["first"]), int(found["end"])
    return SegmentName(found["topic"], int(found["partition"]), first, end, latest) if first < end else None


async def archived(objects: ObjectStore, topic: str) -> dict[int, list[SegmentName]]:
    """The segments of each partition that has any, by first offset. Raises ObjectStoreUnavailable, AccessRefused."""
    found: dict[int, list[SegmentName]] = {}
    for name in sorted(filter(None, map(segment_name, await objects.names(f"{FOLDER}/{topic}")))):
        found.setdefault(name.partition, []).append(name)
    return dict(sorted(found.items()))


def gaps(names: Sequence[SegmentName]) -> list[Span]:
    """Between the first and the last of one partition: offsets that none of them (sorted) covers."""
    found = []
    end = names[0].first if names else 0
    for one in names:
        if one.first > end:
            found.append(Span(one.topic, one.partition, end, one.first))
        end = max(end, one.end)
    return found
