"""From an event and the record that caused it to the record to be written: CloudEvents headers (binary mode of the Kafka
protocol binding 1.0.2), W3C traceparent, and `cause`."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from schemas.events import FINDINGS_TYPE, Event
from schemas.findings import Findings
from schemas.ports import Headers, Outgoing, Record
from streams.topics import RESULTS, Topic

SOURCE = "radstream"
JSON = "application/json"
FHIR_JSON = "application/fhir+json"
HL7_ER7 = "x-application/hl7-v2+er7"

#: W3C Trace Context, section 3.2.2
TRACEPARENT = re.compile(r"00-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})\Z")


def traceparent(cause: Record | None, event_id: str) -> str:
    """The trace of the cause goes on (or starts, from the event's own id); the span is this event. Nothing is random, so
    that processing the same record again writes the same bytes."""
    digest = hashlib.sha256(event_id.encode()).hexdigest()
    found = TRACEPARENT.match(cause.header("traceparent") or "") if cause else None
    trace, flags = (found["trace"], found["flags"]) if found else (digest[32:], "01")
    return f"00-{trace}-{digest[:16]}-{flags}"


def headers(*, id: str, type: str, time: datetime, cause: Record | None, content_type: str, source: str = SOURCE) -> Headers:
    """The headers every record of radstream carries."""
    told: Headers = (
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode("utf-8")),
        ("ce_type", type.encode("utf-8")),
        ("ce_source", source.encode("utf-8")),
        ("ce_time", _told(time)),
        ("content-type", content_type.encode("utf-8")),
        ("traceparent", traceparent(cause, id).encode("ascii")),
    )
    return told if cause is None else (*told, ("cause", str(cause.place).encode("utf-8")))


@lru_cache(maxsize=64)
def _told(time: datetime) -> bytes:
    """All messages that are read in one go have one time."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode("ascii")


def emit(topic: Topic, key: str, event: Event, cause: Record | None) -> Outgoing:
    """An event as a JSON record."""
    return Outgoing(
        topic=topic.name,
        key=key.encode("utf-8"),
        value=event.model_dump_json().encode("utf-8"),
        headers=headers(id=str(event.id), type=event.TYPE, time=event.time, cause=cause, content_type=JSON),
    )


def emit_findings(said: Findings, cause: Record | None) -> Outgoing:
    """What is said of a study on `ai.results`, at the time of its state."""
    key, value = said.subject.study_instance_uid, said.model_dump_json().encode("utf-8")
    return emit_value(RESULTS, key, value, id=said.analysis_id, type=FINDINGS_TYPE, time=said.subject.triggered_at, cause=cause)


def emit_value(
    topic: Topic,
    key: str,
    value: bytes,
    *,
    id: UUID,
    type: str,
    time: datetime,
    cause: Record | None,
    content_type: str = JSON,
) -> Outgoing:
    """A value that is no Event (Findings, a FHIR Bundle) as a record."""
    return Outgoing(
        topic=topic.name,
        key=key.encode("utf-8"),
        value=value,
        headers=headers(id=str(id), type=type, time=time, cause=cause, content_type=content_type),
    )
