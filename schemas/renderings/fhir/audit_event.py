"""What was done as FHIR R4 AuditEvent, after IHE BALP (Basic Audit Log Patterns): who takes part is told as its profiles do, and a
profile is named only where all of it is true. Looks at a terminal are no RESTful operations, so they are of none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from fhir.resources.R4B.auditevent import AuditEvent

from schemas.identifiers import PatientIdentifier, identity
from schemas.renderings.audit_codes import APPLICATION, DESTINATION, SOURCE, Coded, kind_of, outcome_of
from schemas.renderings.audited import Audited, Deed, Surroundings
from schemas.renderings.fhir.envelope import Resource
from schemas.renderings.fhir.provenance import ENGINE, RECORD
from schemas.renderings.fhir.references import Site, instant, study_reference, subject_reference
from schemas.renderings.fhir.resource import resource_of

#: IHE BALP 1.1: a RESTful update of something about one patient
PATIENT_UPDATE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientUpdate"
#: systems of our own: the name of a person as the engine was told it; a keyed hash
PERSON = "urn:radstream:person"
HASHED_ACCESSION_NUMBER = "urn:radstream:accession-number:hmac-sha256"

_REST = {
    "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
    "code": "rest",
    "display": "RESTful Operation",
}
_UPDATE = {"system": "http://hl7.org/fhir/restful-interaction", "code": "update", "display": "update"}
#: who receives what is shown; any other person who does something
_RECIPIENT = ("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient")
_HUMAN = ("http://terminology.hl7.org/CodeSystem/extra-security-role-type", "humanuser", "human user")
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PERSON = {"system": _ENTITY, "code": "1", "display": "Person"}
_SYSTEM_OBJECT = {"system": _ENTITY, "code": "2", "display": "System Object"}
_OTHER = {"system": _ENTITY, "code": "4", "display": "Other"}
_PATIENT = {"system": _ROLE, "code": "1", "display": "Patient"}
_REPORT = {"system": _ROLE, "code": "3", "display": "Report"}
_SECURITY_RESOURCE = {"system": _ROLE, "code": "13", "display": "Security Resource"}


def audit_event_of(one: Audited, around: Surroundings, site: Site) -> Resource:
    """Raises ValueError: R4's definition or a required value set is broken."""
    updates = _is_patient_update(one, around)
    kind = kind_of(one)
    elements: dict[str, Any] = {
        "id": str(_id(one)),
        "type": _REST if updates else _coding(kind.event),
        "subtype": [_UPDATE] if updates else [_coding(code) for code in kind.types],
        "action": "U" if updates else kind.action,
        "recorded": instant(one.at),
        "outcome": outcome_of(one),
        "outcomeDesc": one.words + (f": {one.reason}" if one.by is None and one.reason else ""),
        "agent": list(_agents(one, around)),
        "source": {
            "site": around.site,
            "observer": ENGINE,
            "type": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                    "code": "4",
                    "display": "Application Server",
                }
            ],
        },
        "entity": list(_entities(one, site, updates)),
    }
    if not elements["subtype"]:
        del elements["subtype"]
    if updates:
        elements["meta"] = {"profile": [PATIENT_UPDATE]}
    return resource_of(AuditEvent, elements)


def _id(one: Audited) -> UUID:
    """One for each record: what is exported twice is one resource."""
    return identity("audit-event", one.place)


def _is_patient_update(one: Audited, around: Surroundings) -> bool:
    """We have put the report of one patient on a FHIR server (a PUT, inside a transaction): client and server are known by their
    addresses, and which report it is."""
    receiver = around.receiver(one.destination)
    return (
        one.deed is Deed.DELIVERED
        and one.outcome == "done"
        and receiver is not None
        and receiver.kind == "fhir"
        and around.machine is not None
        and len(one.patients) == 1
        and one.acknowledgement.startswith("DiagnosticReport/")
    )


def _coding(code: Coded) -> dict[str, Any]:
    return {"system": code.scheme, "code": code.code, "display": code.meaning}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _agents(one: Audited, around: Surroundings) -> Iterator[dict[str, Any]]:
    """The person first, then the engine, then who received something."""
    if one.by is not None:
        person: dict[str, Any] = {
            "type": _concept(*(_RECIPIENT if one.deed in (Deed.LOOKED, Deed.AUDIT_EXPORTED) else _HUMAN)),
            "who": {"identifier": {"system": PERSON, "value": one.by}, "display": one.by},
            "name": one.by,
            "requestor": True,
        }
        if one.reason:
            person["purposeOfUse"] = [{"text": one.reason}]
        yield person
    engine = SOURCE if one.deed is Deed.DELIVERED else APPLICATION
    ours: dict[str, Any] = {"type": {"coding": [_coding(engine)]}, "who": ENGINE, "requestor": one.by is None}
    if around.machine:
        ours["network"] = {"address": around.machine, "type": "1"}
    yield ours
    if one.destination is not None:
        theirs: dict[str, Any] = {
            "type": {"coding": [_coding(DESTINATION)]},
            "who": {"identifier": {"system": "urn:radstream:destination", "value": one.destination}, "display": one.destination},
            "requestor": False,
        }
        if receiver := around.receiver(one.destination):
            theirs["network"] = {"address": receiver.address, "type": "1" if receiver.kind == "oru" else "5"}
        yield theirs


def _entities(one: Audited, site: Site, updates: bool) -> Iterator[dict[str, Any]]:
    """Patients, what something was done to, and the records: of the act itself, and those it is about. BALP allows one system
    object in an update, the report."""
    for patient in one.patients:
        yield {"what": _patient(patient, site), "type": _PERSON, "role": _PATIENT}
    if updates:
        yield {
            "what": {"reference": one.acknowledgement, "type": "DiagnosticReport"},
            "type": _SYSTEM_OBJECT,
            "role": _REPORT,
        }
    if one.study is not None:
        yield {"what": study_reference(one.study), "type": _OTHER if updates else _SYSTEM_OBJECT, "role": _REPORT}
    if one.subject is not None:
        yield {"what": {"identifier": {"system": HASHED_ACCESSION_NUMBER, "value": one.subject}}, "type": _OTHER}
    if one.names:
        details = [{"type": "name", "valueString": name} for name in one.names]
        yield {"name": one.deed.value, "type": _SYSTEM_OBJECT, "role": _SECURITY_RESOURCE, "detail": details}
    told_by = _record(one.place, "told by")
    yield told_by | ({"detail": [{"type": "CloudEvents type", "valueString": one.type}]} if one.type else {})
    yield from (_record(place, "about") for place in one.places)
    if one.cause:
        yield _record(one.cause, "because of")


def _record(place: str, name: str) -> dict[str, Any]:
    return {"what": {"identifier": {"system": RECORD, "value": place}}, "type": _OTHER, "name": name}


def _patient(patient: PatientIdentifier, site: Site) -> dict[str, Any]:
    """#: BALP: Reference(Patient), here by its identifier: whose resource it is, the hospital knows"""
    return subject_reference(patient, site)
