"""Who is who in FHIR (rule 10): ids of what we write, identifiers and logical references of what belongs to the hospital."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, ModelIdentity, OrderReference, Subject
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PatientIdentifier, PlacerOrderNumber, StudyInstanceUID, identity
from schemas.renderings.fhir.codes import ACCESSION_ID, FILLER_IDENTIFIER, PLACER_IDENTIFIER, Code
from schemas.renderings.labels import Language

Number = AccessionNumber | PlacerOrderNumber | FillerOrderNumber

_URI = re.compile(r"(?:urn:|https?://)\S+\Z")
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")


@dataclass(frozen=True, slots=True)
class Site:
    """`assigner` stands in the identity of every report of this site; it never changes. `systems` gives the identifier system
    of an assigner where the hospital has one; `language` is that of what people read."""

    assigner: str
    systems: Mapping[str, str] = field(default_factory=dict)
    language: Language = "en"

    def system(self, assigner: str) -> str:
        """As `systems` says; an assigner that is a URI or an OID (EI.3, CX.4.2) is its own; else a URN of ours."""
        if assigner in self.systems:
            return self.systems[assigner]
        if _URI.match(assigner):
            return assigner
        if _OID.match(assigner):
            return f"urn:oid:{assigner}"
        return f"urn:radstream:assigner:{quote(assigner, safe='')}"


def report_id(study: StudyInstanceUID, site: Site, service: str = CHEST_RADIOGRAPH_FINDINGS) -> UUID:
    """Of the DiagnosticReport: of each service a study has one, whatever model and however often analysed. The assigner is the
    site and not that of the accession number: a study that was reported before its order came must keep its report when the
    order names another assigner."""
    return identity("diagnostic-report", site.assigner, study, service)


def observation_id(analysis_id: UUID, ordinal: int) -> UUID:
    """Ordinal 0: the root Observation (presence); else that of the Finding."""
    return identity("observation", str(analysis_id), str(ordinal))


def output_id(analysis_id: UUID, name: str) -> UUID:
    """Of the Observation of an output: the same however many findings stand before it."""
    return identity("output", str(analysis_id), name)


def observation_ids(findings: Findings) -> list[UUID]:
    """Of all Observations, in their order: root, findings, outputs. A model that locates nothing has no root."""
    id, first = findings.analysis_id, 0 if findings.not_analysed is not None or findings.locates else 1
    return [
        *(observation_id(id, ordinal) for ordinal in range(first, len(findings.findings) + 1)),
        *(output_id(id, output.name) for output in findings.outputs),
    ]


def device_id(model: ModelIdentity) -> UUID:
    return identity("device", model.name, model.version, model.weights_sha256)


def provenance_id(analysis_id: UUID) -> UUID:
    return identity("provenance", str(analysis_id))


def bundle_id(findings: Findings) -> UUID:
    """Of the state told: the same analysis told again for another order is another one."""
    return identity("bundle", str(findings.analysis_id), str(findings.subject.sequence))


def issued(subject: Subject) -> datetime:
    """When this state was said: the time of the record that triggered it, in UTC."""
    return subject.triggered_at.astimezone(UTC)


def instant(time: datetime) -> str:
    """As FHIR instant, in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def reference(type: str, id: UUID) -> dict[str, Any]:
    """To a resource of the same Bundle, by its fullUrl (FHIR R4 bundle.html#references): no server is named."""
    return {"reference": id.urn, "type": type}


def identifier(code: Code, number: Number, site: Site) -> dict[str, Any]:
    return {"type": code.concept(), **_assigned(number, site)}


def _assigned(number: Number | PatientIdentifier, site: Site) -> dict[str, Any]:
    """The assigner as system, by which it is found; and by its name, for people and because two may share a system."""
    return {"system": site.system(number.assigner), "value": number.value, "assigner": {"display": number.assigner}}


def subject_reference(patient: PatientIdentifier, site: Site) -> dict[str, Any]:
    return {"type": "Patient", "identifier": _assigned(patient, site)}


def study_reference(study: StudyInstanceUID) -> dict[str, Any]:
    """#: FHIR R4 imagingstudy.html: system urn:dicom:uid, value urn:oid: and the UID"""
    return {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}}


def _numbers_of(order: OrderReference, site: Site) -> Iterator[dict[str, Any]]:
    if order.accession_number:
        yield identifier(ACCESSION_ID, order.accession_number, site)
    if order.placer_order_number:
        yield identifier(PLACER_IDENTIFIER, order.placer_order_number, site)
    if order.filler_order_number:
        yield identifier(FILLER_IDENTIFIER, order.filler_order_number, site)


def order_references(subject: Subject, site: Site) -> list[dict[str, Any]]:
    """A Reference holds one identifier, so an order is referenced once per number it is known by: whichever of them the
    hospital gave its ServiceRequest, it matches. `display` tells which references are one order."""
    return [
        {"type": "ServiceRequest", "identifier": number, "display": f"Order {position} of {len(subject.orders)}"}
        for position, order in enumerate(subject.orders, start=1)
        for number in _numbers_of(order, site)
    ]


def order_identifiers(subject: Subject, site: Site) -> list[dict[str, Any]]:
    """Accession number first, each number once: by them the report is found (HL7 v2-to-FHIR maps OBR-2, OBR-3 the same way). The
    accession number of the study itself, (0008,0050), is the "official" one."""
    own = [identifier(ACCESSION_ID, subject.accession_number, site)] if subject.accession_number else []
    found = list(own)
    for order in subject.orders:
        found += [number for number in _numbers_of(order, site) if number not in found]
    found.sort(key=lambda number: bool(number["type"]["coding"][0]["code"] != ACCESSION_ID.code))
    return [{"use": "official"} | number if number in own else number for number in found]
