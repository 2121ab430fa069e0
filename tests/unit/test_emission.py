"""Headers: CloudEvents, traceparent and cause; nothing random."""

from datetime import UTC, datetime
from uuid import UUID

from schemas.events import PatientUpdated, Sender
from schemas.identifiers import PatientIdentifier
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.emission import emit

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EVENT = PatientUpdated(
    id=UUID(int=7),
    time=AT,
    sender=Sender(application="HIS", facility="TCH", message_control_id="1", occurred_at=AT),
    patients=(PatientIdentifier(value="1", assigner="HIS"),),
)


def as_record(out: Outgoing) -> Record:
    return Record(Place(out.topic, 0, 5), out.key, out.value, out.headers, AT)


def test_every_record_says_what_it_is_and_where_it_comes_from() -> None:
    first = as_record(emit(topics.PATIENTS, "1^HIS", EVENT, None))
    second = as_record(emit(topics.PATIENTS, "1^HIS", EVENT, first))
    assert first.header("ce_id") == str(EVENT.id)
    assert first.header("ce_type") == "org.radstream.patient.updated.v1"
    assert first.header("ce_time") == "2026-11-24T12:00:00Z"
    assert first.header("ce_specversion") == "1.0"
    assert first.header("ce_source") == "radstream"
    assert first.header("content-type") == "application/json"
    assert first.header("cause") is None
    assert second.header("cause") == "imaging.patients/0/5"
    assert PatientUpdated.model_validate_json(second.value) == EVENT


def test_the_trace_of_the_cause_goes_on() -> None:
    cause = Record(Place("t", 0, 0), None, b"", (("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00"),), AT)
    version, trace, span, flags = (as_record(emit(topics.PATIENTS, "k", EVENT, cause)).header("traceparent") or "").split("-")
    assert (version, trace, flags) == ("00", "a" * 32, "00")
    assert len(span) == 16
    assert span != "b" * 16


def test_a_broken_traceparent_starts_a_new_trace() -> None:
    cause = Record(Place("t", 0, 0), None, b"", (("traceparent", b"nonsense"),), AT)
    version, trace, span, _ = (as_record(emit(topics.PATIENTS, "k", EVENT, cause)).header("traceparent") or "").split("-")
    assert (version, len(trace), len(span)) == ("00", 32, 16)


def test_the_same_cause_gives_the_same_bytes() -> None:
    assert emit(topics.PATIENTS, "k", EVENT, None) == emit(topics.PATIENTS, "k", EVENT, None)
