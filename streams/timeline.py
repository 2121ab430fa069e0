"""The timeline in our own words, one line for each record and no patient data; and which report it makes the latest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import NamedTuple

from schemas.discrepancies import (
    DISCREPANCY_EVENTS,
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.errors import MalformedMessage, UnsupportedMessage
from schemas.events import (
    PATIENT_EVENTS,
    DeliveryAcknowledged,
    OrderChanged,
    OrderEvent,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    Priority,
    ReportAmended,
    ReportDrafted,
    ReportEvent,
    ReportSigned,
)
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, Subject
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.ports import Record
from schemas.renderings.fhir.envelope import open_bundle
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.case_names import Names, names_of
from streams.topics import (
    DEAD_LETTERS,
    DELIVERIES,
    DISCREPANCIES,
    FINDINGS,
    ORDERS,
    PATIENTS,
    REPORTS,
    REQUESTS,
    REQUESTS_BULK,
    REQUESTS_STAT,
    RESULTS,
    STUDIES,
)

#: an order told so long after it happened may be older than what stands above it (rule 8)
_LATE = timedelta(minutes=1)


class State(NamedTuple):
    """Of a report that all are told."""

    study: StudyInstanceUID
    service: str
    sequence: int


class Line(NamedTuple):
    """`what`: for people; `names`: what the record names, None where nothing is looked for by it."""

    what: str
    study: str | None = None
    accession: AccessionNumber | str | None = None
    state: State | None = None
    names: Names | None = None


def line_of(record: Record) -> Line:
    """Of a topic in TOPICS. Raises MalformedMessage, UnsupportedMessage (another topic)."""
    words = _WORDS.get(record.place.topic)
    if words is None:
        raise UnsupportedMessage("project", str(record.place), "no view shows this topic")
    try:
        return words(record)
    except ValueError:
        raise MalformedMessage("project", str(record.place), "not the value that its topic promises") from None


def _order(record: Record) -> Line:
    order = OrderEvent.model_validate_json(record.value)
    changed = "changed: " if record.header("ce_type") == OrderChanged.TYPE else ""
    urgent = ", STAT" if order.priority is Priority.STAT else ""
    said_at = order.sender.occurred_at
    late = f", as of {said_at.isoformat(sep=' ', timespec='seconds')}" if order.time - said_at > _LATE else ""
    what = f"order {changed}{order.status}{urgent}{late}"
    return Line(what, order.study_instance_uid, order.accession_number, names=names_of(order))


def _report(record: Record) -> Line:
    report = ReportEvent.model_validate_json(record.value)
    said = _REPORTS.get(record.header("ce_type") or "")
    if said is None:
        raise UnsupportedMessage("project", str(record.place), "no report of a version known here")
    return Line(f"radiologist's report {said}", accession=report.accession_number, names=names_of(report))


def _patient(record: Record) -> Line:
    """Of no case alone: `_led_to_by`."""
    kind = PATIENT_EVENTS.get(record.header("ce_type") or "")
    if kind is None:
        raise ValueError("no patient event of a version known here")
    return Line(f"patient {_PATIENTS[kind]}", names=names_of(kind.model_validate_json(record.value)))


def _study(record: Record) -> Line:
    study = StudyCompleted.model_validate_json(record.value)
    what = f"study complete, {_many(len(study.images), 'image')}, revision {study.revision[:8]}, said {study.source}"
    if study.source_ae_title:
        what += f", sent by {study.source_ae_title}"
    if study.study_date is not None:  # a study that is told no further is too old, or from a sender who makes no news
        days = (study.time.astimezone(UTC).date() - study.study_date).days
        what += f", {_many(days, 'day')} old" if days > 0 else ""
    return Line(what, study.study_instance_uid, study.accession_number, names=names_of(study))


def _request(record: Record) -> Line:
    request = AnalysisRequested.model_validate_json(record.value)
    subject = request.subject
    urgent = ", STAT" if request.priority is Priority.STAT else ""
    joined = _many(len(subject.orders), "order") if subject.orders else "no order"
    what = f"analysis requested, state {subject.sequence}, {joined}{urgent}{_told_to(subject)}"
    return Line(what, subject.study_instance_uid, subject.accession_number, names=names_of(request))


def _result(record: Record) -> Line:
    findings = Findings.model_validate_json(record.value)
    subject = findings.subject
    if findings.not_analysed is not None:
        said = f"not analysed: {findings.not_analysed.reason} ({findings.not_analysed.explanation.rstrip('.')})"
    else:
        said = _found(findings)
    if findings.verified_at is not None:
        said += ", after verification"
    what = f"result{_of(findings.service)}, state {subject.sequence}, {said}{_told_to(subject)}"
    state = State(subject.study_instance_uid, findings.service, subject.sequence) if subject.outward else None
    return Line(what, subject.study_instance_uid, subject.accession_number, state, names_of(findings))


def _found(findings: Findings) -> str:
    """Of a model that looks for no findings not "no finding"."""
    said = []
    if findings.locates:
        said.append(_many(len(findings.findings), "finding") if findings.present else "no finding")
    answers = [output.present for output in findings.outputs]
    if asked := [present for present in answers if present is not None]:
        said.append(f"{sum(asked)} of {_many(len(asked), 'output')} present")
    if measures := answers.count(None):
        said.append(_many(measures, "measure"))
    return ", ".join(said)


def _of(service: str) -> str:
    """Of a report beside the usual one."""
    return "" if service == CHEST_RADIOGRAPH_FINDINGS else f" of {service}"


def _told_to(subject: Subject) -> str:
    return "" if subject.outward else ", for ourselves only"


def _bundle(record: Record) -> Line:
    envelope = open_bundle(record.value)
    state = State(envelope.study_instance_uid, envelope.service, envelope.sequence)
    return Line(f"report{_of(envelope.service)} rendered as FHIR", _study_key(record), state=state)


def _delivery(record: Record) -> Line:
    delivery = DeliveryAcknowledged.model_validate_json(record.value)
    what = f"{delivery.outcome} at {delivery.destination}, state {delivery.sequence}"
    if delivery.acknowledgement:
        what += f", {delivery.acknowledgement}"
    return Line(what, delivery.study_instance_uid)


def _discrepancy(record: Record) -> Line:
    """Not by whom and why: free text of a person may name the patient, and is on the topic."""
    kind = DISCREPANCY_EVENTS.get(record.header("ce_type") or "")
    if kind is None:
        raise ValueError("no discrepancy of a version known here")
    event = kind.model_validate_json(record.value)
    became = _BECAME[kind]
    if isinstance(event, DiscrepancyOpened):
        became += f", state {event.sequence}"
    what = f"discrepancy{_of(event.service)} {became}"
    return Line(what, event.study_instance_uid, event.accession_number, names=names_of(event))


def _dead_letter(record: Record) -> Line:
    topic, partition, offset, step, error = (
        record.header(name) or "?" for name in ("topic", "partition", "offset", "step", "error")
    )
    what = f"dead letter of {topic}/{partition}/{offset}: {error} in {step}"
    if topic in (ORDERS.name, REPORTS.name):  # keyed by accession number, or by another number: then nobody looks for it by this
        return Line(what, accession=(record.key or b"").decode("utf-8", "replace") or None)
    return Line(what, _study_key(record))


_REPORTS = {ReportDrafted.TYPE: "drafted", ReportSigned.TYPE: "signed", ReportAmended.TYPE: "amended"}

_PATIENTS = {PatientUpdated: "updated", PatientMerged: "merged", PatientUnlinked: "unlinked"}

_BECAME = {
    DiscrepancyOpened: "opened",
    DiscrepancyEscalated: "escalated, nobody acknowledged it in time",
    DiscrepancyAcknowledged: "acknowledged by a person",
    DiscrepancyWithdrawn: "withdrawn",
}

_WORDS: dict[str, Callable[[Record], Line]] = {
    ORDERS.name: _order,
    REPORTS.name: _report,
    PATIENTS.name: _patient,
    STUDIES.name: _study,
    REQUESTS.name: _request,
    REQUESTS_STAT.name: _request,
    REQUESTS_BULK.name: _request,
    RESULTS.name: _result,
    FINDINGS.name: _bundle,
    DELIVERIES.name: _delivery,
    DISCREPANCIES.name: _discrepancy,
    DEAD_LETTERS.name: _dead_letter,
}

#: the topics that the timeline shows
TOPICS = tuple(_WORDS)


def _study_key(record: Record) -> str | None:
    """The key, where it is a Study Instance UID."""
    try:
        return StudyInstanceUID((record.key or b"").decode("ascii"))
    except ValueError:
        return None


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
