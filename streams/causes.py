"""The header `cause`: which record a record was made from."""

from __future__ import annotations

import re

from schemas.ports import Place, Record
from streams import topics

_PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)/(?P<partition>[0-9]{1,9})/(?P<offset>[0-9]{1,18})\Z")
_OURS = frozenset(topic.name for topic in topics.ALL)


def cause_of(record: Record) -> Place | None:
    """None where there is none, or none on a topic of ours: whoever produces onto `hl7.v2.raw` may send such a header too."""
    found = _PLACE.match(record.header("cause") or "")
    if found is None or found["topic"] not in _OURS:
        return None
    return Place(found["topic"], int(found["partition"]), int(found["offset"]))
