"""What the AI says of a study, as DiagnosticReport."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from schemas.findings import DEMONSTRATION, FindingKind, Findings, NotAnalysedReason
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.envelope import SEQUENCE
from schemas.renderings.fhir.references import (
    Site,
    issued,
    observation_id,
    order_identifiers,
    order_references,
    reference,
    report_id,
    study_reference,
    subject_reference,
)


def report_of(findings: Findings, site: Site) -> DiagnosticReport:
    """`partial` (R4: may be unverified) or `cancelled`; `final` is a word only a person may say (rule 10)."""
    subject = findings.subject
    id = report_id(subject.study_instance_uid, site)
    elements: dict[str, Any] = {
        "id": str(id),
        "meta": {"security": [codes.AI_ASSERTED.coding]},
        "extension": [{"url": SEQUENCE, "valuePositiveInt": subject.sequence}],
        "identifier": [{"system": "urn:ietf:rfc3986", "value": id.urn}, *order_identifiers(subject, site)],
        "status": "partial" if findings.not_analysed is None else "cancelled",
        "category": [codes.RADIOLOGY.concept()],
        "code": codes.DIAGNOSTIC_IMAGING_STUDY.concept(),
        "effectiveDateTime": issued(subject),
        "issued": issued(subject),
        # every live Observation, not the root alone: receivers that do not follow hasMember see each finding, and what a later
        # report no longer lists is superseded
        "result": [
            reference("Observation", observation_id(findings.analysis_id, ordinal)) for ordinal in range(len(findings.findings) + 1)
        ],
        "imagingStudy": [study_reference(subject.study_instance_uid)],
        "conclusion": conclusion_of(findings),
    }
    if orders := order_references(subject, site):
        elements["basedOn"] = orders
    if subject.patient is not None:
        elements["subject"] = subject_reference(subject.patient, site)
    return DiagnosticReport.model_validate(elements)


def conclusion_of(findings: Findings) -> str:
    """One or two plain sentences, and what every text of this product says of itself."""
    sentences = [_said(findings)]
    said_already = findings.not_analysed is not None and findings.not_analysed.reason is NotAnalysedReason.NO_ORDER
    if not findings.subject.orders and not said_already:
        sentences.append("There is no order for this study.")
    return " ".join([*sentences, DEMONSTRATION])


def _said(findings: Findings) -> str:
    if findings.not_analysed is not None:
        return f"Not analysed by AI: {codes.NOT_ANALYSED[findings.not_analysed.reason].display}."
    if not findings.present:
        return "AI found no nodule or mass of the lung."
    kinds = Counter(finding.kind for finding in findings.findings)
    words = {FindingKind.NODULE: ("nodule", "nodules"), FindingKind.MASS: ("mass", "masses")}
    counted = [f"{kinds[kind]} {one if kinds[kind] == 1 else many}" for kind, (one, many) in words.items() if kinds[kind]]
    highest = max(finding.probability for finding in findings.findings)
    return f"AI suspects {' and '.join(counted)} of the lung (highest probability {highest:.2f})."
