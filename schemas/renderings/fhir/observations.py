"""Presence in the study (root), each finding and each output, as Observations."""

from __future__ import annotations

from typing import Any

from fhir.resources.R4B.observation import Observation

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Finding, FindingKind, Findings, NotAnalysed, Presence, Region
from schemas.identifiers import SOPInstanceUID
from schemas.outputs import Output
from schemas.renderings import labels
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.conclusion import after_verification
from schemas.renderings.fhir.envelope import Resource
from schemas.renderings.fhir.references import (
    Site,
    device_id,
    instant,
    observation_id,
    observation_ids,
    reference,
    study_reference,
    subject_reference,
)
from schemas.renderings.fhir.resource import resource_of
from schemas.renderings.labels import Language


def observations_of(findings: Findings, site: Site) -> list[Resource]:
    """Root, findings in the order of their ordinals, outputs: as `observation_ids` counts them."""
    shared, language = _shared(findings, site), site.language
    said = [
        *([_root(findings, language)] if findings.not_analysed is not None or findings.locates else []),
        *(_finding(finding, language) for finding in findings.findings),
        *(_output(output, image, language) for output, image in findings.outputs_with_image),
    ]
    ids = observation_ids(findings)
    return [resource_of(Observation, {"id": str(id)} | shared | one) for id, one in zip(ids, said, strict=True)]


def _shared(findings: Findings, site: Site) -> dict[str, Any]:
    subject = findings.subject
    elements: dict[str, Any] = {
        "meta": {"security": [codes.AI_ASSERTED.coding]},
        "status": "preliminary",  # an AI's Observation that nobody verified (rule 10)
        "category": [codes.IMAGING.concept()],
        "effectiveDateTime": instant(subject.triggered_at),
        "issued": instant(subject.triggered_at),
        "derivedFrom": [study_reference(subject.study_instance_uid)],
    }
    if subject.patient is not None:
        elements["subject"] = subject_reference(subject.patient, site)
    if findings.model is not None:
        elements["device"] = reference("Device", device_id(findings.model))
    if findings.verified_at is not None:  # of each: it may be read without its report
        elements["note"] = [{"text": after_verification(findings.verified_at, site.language)}]
    if site.language != "en":
        elements["language"] = site.language
    return elements


def _root(findings: Findings, language: Language) -> dict[str, Any]:
    """ "Nothing found" is an explicit Absent; "not analysed" has no value and says why: never confusable."""
    if findings.not_analysed is not None:
        ours = findings.service == CHEST_RADIOGRAPH_FINDINGS
        question = codes.NODULE_OR_MASS if ours else codes.ANALYSIS
        reason = _absent_reason(findings.not_analysed, language)
        said = {"code": question.concept(), "status": "cancelled", "dataAbsentReason": reason}
        words = findings.not_analysed.explanation
        return said | ({"note": [{"text": words}]} if words.strip() else {})  # FHIR has no empty string
    present = findings.presence
    assert present is not None
    root: dict[str, Any] = {"code": codes.NODULE_OR_MASS.concept(), "valueCodeableConcept": _answer(present, language)}
    if findings.probability is not None and findings.threshold is not None:
        root["component"] = [_score(codes.STUDY_PROBABILITY, findings.probability)]
        root["component"].append(_quantity(codes.THRESHOLD, findings.threshold, codes.UNITY))
    if findings.findings:
        root["hasMember"] = [
            reference("Observation", observation_id(findings.analysis_id, finding.ordinal)) for finding in findings.findings
        ]
    return root


def _absent_reason(not_analysed: NotAnalysed, language: Language) -> dict[str, Any]:
    reason = codes.NOT_ANALYSED[not_analysed.reason]
    text = f"Not analysed: {reason.display}"
    if language != "en":
        text = f"{labels.phrase('not-analysed', language)}：{labels.not_analysed(not_analysed.reason, language)}"
    return {"coding": [codes.NOT_PERFORMED.coding, reason.coding], "text": text}


def _answer(present: Presence, language: Language) -> dict[str, Any]:
    return codes.ANSWERS[present].concept(None if language == "en" else labels.presence(present, language))


def _finding(finding: Finding, language: Language) -> dict[str, Any]:
    components = [_score(codes.PROBABILITY, finding.probability)]
    if finding.kind is FindingKind.NODULE:
        present = codes.ELEMENT_PRESENT.concept()
        components.insert(0, {"code": codes.ELEMENT_PRESENCE.concept(), "valueCodeableConcept": present})
    if (size := finding.long_axis) is not None:
        text = f"Long axis in the plane of the {size.plane}"
        code = {"coding": [codes.LONG_AXIS.coding, codes.PLANES[size.plane].coding], "text": text}
        components.append({"code": code, "valueQuantity": quantity(size.value, codes.MILLIMETRE)})
    kind = codes.KINDS[finding.kind]
    words = kind.display if language == "en" else labels.finding_kind(finding.kind, language)
    return {
        "code": {"coding": [kind.coding, *(other.coding for other in codes.OTHER_CODES[finding.kind])], "text": words},
        "valueCodeableConcept": _answer("present", language),
        "component": components + _region(finding.region),
    }


def _output(output: Output, image: SOPInstanceUID, language: Language) -> dict[str, Any]:
    """Present or absent where the card has a threshold; else a value in its unit."""
    unit = (output.unit, output.unit)
    components: list[dict[str, Any]] = [{"code": codes.SOP_INSTANCE_UID.concept(), "valueString": image}]
    words = output.coding.display if language == "en" else labels.output(output, language)
    said: dict[str, Any] = {"code": {"coding": [output.coding.model_dump()], "text": words}}
    if output.threshold is None:
        return said | {"valueQuantity": quantity(output.value, unit), "component": components}
    components.append(_quantity(codes.OUTPUT_VALUE, output.value, unit))
    components.append(_quantity(codes.OUTPUT_THRESHOLD, output.threshold, unit))
    answer = _answer("present" if output.present else "absent", language)
    return said | {"valueCodeableConcept": answer, "component": components}


def _region(region: Region) -> list[dict[str, Any]]:
    return [
        {"code": codes.SOP_INSTANCE_UID.concept(), "valueString": region.sop_instance_uid},
        {"code": codes.FRAME.concept(), "valueInteger": region.frame},
        _quantity(codes.REGION_LEFT, region.left, codes.PIXELS),
        _quantity(codes.REGION_TOP, region.top, codes.PIXELS),
        _quantity(codes.REGION_WIDTH, region.width, codes.PIXELS),
        _quantity(codes.REGION_HEIGHT, region.height, codes.PIXELS),
    ]


def _score(code: codes.Code, value: float) -> dict[str, Any]:
    """What the number is of, and what it means."""
    concept = {"coding": [code.coding, codes.SCORE.coding], "text": code.display}
    return {"code": concept, "valueQuantity": quantity(value, codes.UNITY)}


def _quantity(code: codes.Code, value: float, unit: tuple[str, str]) -> dict[str, Any]:
    return {"code": code.concept(), "valueQuantity": quantity(value, unit)}


def quantity(value: float, unit: tuple[str, str]) -> dict[str, Any]:
    """With its UCUM unit (code, name)."""
    ucum, name = unit
    return {"value": float(value), "unit": name, "system": codes.UCUM, "code": ucum}
