"""The header `cause`: which record a record was made from."""

from __future__ import annotations

from schemas.ports import Place, Record
from streams import topics
from streams.topics import plain_name

_OURS = frozenset(topic.name for topic in topics.ALL)


def cause_of(record: Record) -> Place | None:
    """None where there is none, or none on a topic of ours: whoever produces onto `hl7.v2.raw` may send such a header too."""
    place = Place.parse(record.header("cause") or "")
    return place if place is not None and place.topic in _OURS else None


def replay_of(record: Record) -> str | None:
    """The replay from which a person published it: it stands on a live topic, and what it was made of in the sandbox of that
    replay. None: it was not published."""
    place = Place.parse(record.header("cause") or "")
    if place is None or plain_name(place.topic) not in _OURS - {place.topic} or record.place.topic not in _OURS:
        return None
    return place.topic.split(".")[1]
