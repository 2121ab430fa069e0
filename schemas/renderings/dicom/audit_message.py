"""What was done as a DICOM audit message (PS3.15 A.5): its schema (A.5.1) is kept by all; the structure of single events (A.5.3) by
those that DICOM has: patient record, audit log used, security alert, application activity, and the export to other systems."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC
from xml.etree.ElementTree import Element, SubElement, tostring

from schemas.identifiers import PatientIdentifier
from schemas.renderings.audit_codes import APPLICATION, DESTINATION, SOURCE, Coded, dcm, kind_of, outcome_of
from schemas.renderings.audited import Audited, Deed, Surroundings

#: PS3.15 A.5.1.2.4, ParticipantObjectIDTypeCode, of RFC 3881
_PATIENT_NUMBER = Coded("", "RFC-3881", "2", "Patient Number")
_URI = Coded("", "RFC-3881", "12", "URI")
_STUDY = dcm("110180", "Study Instance UID")
#: of our own
_RECORD = Coded("", "radstream", "record", "Record on the log: TOPIC/PARTITION/OFFSET")
_HASHED = Coded("", "radstream", "hmac-sha256", "Keyed hash of an accession number")
_NAME = Coded("", "radstream", "name", "Name of a setting or a model")

_PERSON, _SYSTEM_OBJECT, _OTHER = "1", "2", "4"
#: ParticipantObjectTypeCodeRole
_PATIENT, _REPORT, _SECURITY_RESOURCE = "1", "3", "13"
#: PS3.15 A.5.3.2: the log that was used
_AUDIT_LOG = "urn:radstream:topic:radstream.audit"


def audit_message_of(one: Audited, around: Surroundings) -> str:
    """One line of XML, without a declaration, in UTF-8 when it is encoded."""
    message = Element("AuditMessage")
    _event(message, one)
    _participants(message, one, around)
    source = SubElement(message, "AuditSourceIdentification", AuditEnterpriseSiteID=_token(around.site), AuditSourceID="radstream")
    SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # application server
    _objects(message, one)
    return tostring(message, "unicode")


def _event(message: Element, one: Audited) -> None:
    kind = kind_of(one)
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=kind.action,
        EventDateTime=one.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        EventOutcomeIndicator=outcome_of(one),
    )
    _coded(event, "EventID", kind.event)
    for code in kind.types:
        _coded(event, "EventTypeCode", code)
    because = f": {one.reason}" if one.by is None and one.reason else ""
    SubElement(event, "EventOutcomeDescription").text = _token(one.words + because)


def _participants(message: Element, one: Audited, around: Surroundings) -> None:
    """The person, the engine, and who received something."""
    if one.by is not None:
        SubElement(message, "ActiveParticipant", UserID=_token(one.by), UserIsRequestor="true")
    machine = {"NetworkAccessPointID": around.machine, "NetworkAccessPointTypeCode": "1"} if around.machine else {}
    ours = {"UserID": "radstream", "UserIsRequestor": "true" if one.by is None else "false"} | machine
    engine = SubElement(message, "ActiveParticipant", ours)
    _coded(engine, "RoleIDCode", SOURCE if one.deed is Deed.DELIVERED else APPLICATION)
    if one.destination is None:
        return
    theirs = {"UserID": _token(one.destination), "UserIsRequestor": "false"}
    if receiver := around.receiver(one.destination):
        kind = "1" if receiver.kind == "oru" else "5"
        theirs |= {"NetworkAccessPointID": receiver.address, "NetworkAccessPointTypeCode": kind}
    _coded(SubElement(message, "ActiveParticipant", theirs), "RoleIDCode", DESTINATION)


def _objects(message: Element, one: Audited) -> None:
    for patient in one.patients:
        _object(message, _patient_id(patient), _PATIENT_NUMBER, "Patient", _PERSON, _PATIENT)
    if one.study is not None:
        study = _object(message, one.study, _STUDY, "Study", _SYSTEM_OBJECT, _REPORT)
        description = SubElement(study, "ParticipantObjectDescription")
        SubElement(SubElement(description, "ParticipantObjectContainsStudy"), "StudyIDs", UID=one.study)
    if one.subject is not None:
        _object(message, one.subject, _HASHED, "Accession number that was asked for", _OTHER)
    if one.deed is Deed.AUDIT_EXPORTED:
        _object(message, _AUDIT_LOG, _URI, "Security Audit Log", _SYSTEM_OBJECT, _SECURITY_RESOURCE)
    for name in one.names:
        _object(message, name, _NAME, one.deed.value, _SYSTEM_OBJECT, _SECURITY_RESOURCE)
    told_by = _object(message, one.place, _RECORD, "told by", _OTHER)
    details = {"CloudEvents id": one.id, "CloudEvents type": one.type, "reason": one.reason if one.by is not None else ""}
    for name, value in details.items():
        if value:
            SubElement(told_by, "ParticipantObjectDetail", type=name, value=b64encode(value.encode()).decode("ascii"))
    for place in one.places:
        _object(message, place, _RECORD, "about", _OTHER)
    if one.cause:
        _object(message, one.cause, _RECORD, "because of", _OTHER)


def _patient_id(patient: PatientIdentifier) -> str:
    """As CX (HL7 v2.5.1 2.A.14): a number without its assigner names nobody."""
    return _token(f"{patient.value}^^^{patient.assigner}")


def _object(message: Element, id: str, kind: Coded, name: str, type: str, role: str | None = None) -> Element:
    attributes = {"ParticipantObjectID": id, "ParticipantObjectTypeCode": type}
    if role is not None:
        attributes["ParticipantObjectTypeCodeRole"] = role
    one = SubElement(message, "ParticipantObjectIdentification", attributes)
    _coded(one, "ParticipantObjectIDTypeCode", kind)
    SubElement(one, "ParticipantObjectName").text = name
    return one


def _coded(parent: Element, name: str, code: Coded) -> None:
    SubElement(
        parent,
        name,
        {"csd-code": code.code, "codeSystemName": code.name, "displayName": code.meaning, "originalText": code.meaning},
    )


def _token(text: str) -> str:
    """One line of what XML 1.0 can say."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
