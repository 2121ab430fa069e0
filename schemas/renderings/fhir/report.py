"""What the AI says of a study, as DiagnosticReport."""

from __future__ import annotations

from typing import Any

from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Examination, Findings
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.conclusion import conclusion_of
from schemas.renderings.fhir.envelope import OUTWARD, REVISION, SEQUENCE, SERVICE, VERIFIED_AT, Resource
from schemas.renderings.fhir.references import (
    Site,
    instant,
    observation_ids,
    order_identifiers,
    order_references,
    reference,
    report_id,
    study_reference,
    subject_reference,
)
from schemas.renderings.fhir.resource import resource_of


def report_of(findings: Findings, site: Site) -> Resource:
    """`partial` (R4: may be unverified) or `cancelled`; `final` is a word only a person may say (rule 10)."""
    subject = findings.subject
    id = report_id(subject.study_instance_uid, site, findings.service)
    elements: dict[str, Any] = {
        "id": str(id),
        "meta": {"security": [codes.AI_ASSERTED.coding]},
        "extension": _extensions(findings),
        "identifier": [{"system": "urn:ietf:rfc3986", "value": id.urn}, *order_identifiers(subject, site)],
        "status": "partial" if findings.not_analysed is None else "cancelled",
        "category": [codes.RADIOLOGY.concept()],
        "code": _code(subject.examination),
        "effectiveDateTime": instant(subject.triggered_at),
        "issued": instant(subject.triggered_at),
        # every live Observation, not the root alone: receivers that do not follow hasMember see each finding, and what a later
        # report no longer lists is superseded
        "result": [reference("Observation", observation) for observation in observation_ids(findings)],
        "imagingStudy": [study_reference(subject.study_instance_uid)],
        "conclusion": conclusion_of(findings, site.language),
    }
    if site.language != "en":
        elements["language"] = site.language
    if orders := order_references(subject, site):
        elements["basedOn"] = orders
    if subject.patient is not None:
        elements["subject"] = subject_reference(subject.patient, site)
    return resource_of(DiagnosticReport, elements)


def _code(examination: Examination | None) -> dict[str, Any]:
    """Without the words of LOINC: those of the order are `text`."""
    if examination is None:
        return codes.DIAGNOSTIC_IMAGING_STUDY.concept()
    said: dict[str, Any] = {"coding": [{"system": codes.LOINC, "code": examination.loinc}]}
    return said | ({"text": examination.text} if examination.text else {})


def _extensions(findings: Findings) -> list[dict[str, Any]]:
    """What R4 has no element for. Those with a usual value are written where it is another one."""
    subject = findings.subject
    said: list[dict[str, Any]] = [
        {"url": SEQUENCE, "valuePositiveInt": subject.sequence},
        {"url": REVISION, "valueString": subject.revision},
    ]
    if findings.service != CHEST_RADIOGRAPH_FINDINGS:
        said.append({"url": SERVICE, "valueCode": findings.service})
    if findings.verified_at is not None:
        said.append({"url": VERIFIED_AT, "valueDateTime": instant(findings.verified_at)})
    if not subject.outward:
        said.append({"url": OUTWARD, "valueBoolean": False})
    return said
