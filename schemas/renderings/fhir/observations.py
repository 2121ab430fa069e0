"""Presence in the study (root), each finding and each output, as Observations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from fhir.resources.R4B.observation import Observation

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Finding, Findings, NotAnalysed, Region
from schemas.identifiers import SOPInstanceUID
from schemas.outputs import Output
from schemas.renderings.fhir import codes
from schemas.renderings.fhir.references import (
    Site,
    device_id,
    issued,
    observation_id,
    observation_ids,
    reference,
    study_reference,
    subject_reference,
)


def observations_of(findings: Findings, site: Site) -> list[Observation]:
    """Root, findings in the order of their ordinals, outputs: as `observation_ids` counts them."""
    shared = _shared(findings, site)
    said = [
        *([_root(findings)] if findings.not_analysed is not None or findings.locates else []),
        *(_finding(finding) for finding in findings.findings),
        *(_output(output, image) for output, image in findings.outputs_with_image),
    ]
    ids = observation_ids(findings)
    return [Observation.model_validate(shared | one | {"id": str(id)}) for id, one in zip(ids, said, strict=True)]


def _shared(findings: Findings, site: Site) -> dict[str, Any]:
    subject = findings.subject
    elements: dict[str, Any] = {
        "meta": {"security": [codes.AI_ASSERTED.coding]},
        "status": "preliminary",  # an AI's Observation that nobody verified (rule 10)
        "category": [codes.IMAGING.concept()],
        "effectiveDateTime": issued(subject),
        "issued": issued(subject),
        "derivedFrom": [study_reference(subject.study_instance_uid)],
    }
    if subject.patient is not None:
        elements["subject"] = subject_reference(subject.patient, site)
    if findings.model is not None:
        elements["device"] = reference("Device", device_id(findings.model))
    return elements


def _root(findings: Findings) -> dict[str, Any]:
    """ "Nothing found" is an explicit Absent; "not analysed" has no value and says why: never confusable."""
    if findings.not_analysed is not None:
        ours = findings.service == CHEST_RADIOGRAPH_FINDINGS
        question = codes.NODULE_OR_MASS if ours else codes.ANALYSIS
        reason = _absent_reason(findings.not_analysed)
        return {"code": question.concept(), "status": "cancelled", "dataAbsentReason": reason}
    root: dict[str, Any] = {
        "code": codes.NODULE_OR_MASS.concept(),
        "valueCodeableConcept": (codes.PRESENT if findings.present else codes.ABSENT).concept(),
    }
    if findings.probability is not None and findings.threshold is not None:
        root["component"] = [_quantity(codes.STUDY_PROBABILITY, findings.probability, codes.UNITY)]
        root["component"].append(_quantity(codes.THRESHOLD, findings.threshold, codes.UNITY))
    if findings.findings:
        root["hasMember"] = [
            reference("Observation", observation_id(findings.analysis_id, finding.ordinal)) for finding in findings.findings
        ]
    return root


def _absent_reason(not_analysed: NotAnalysed) -> dict[str, Any]:
    reason = codes.NOT_ANALYSED[not_analysed.reason]
    return {"coding": [codes.NOT_PERFORMED.coding, reason.coding], "text": f"Not analysed: {reason.display}"}


def _finding(finding: Finding) -> dict[str, Any]:
    components = [_quantity(codes.PROBABILITY, finding.probability, codes.UNITY)]
    if finding.long_axis is not None:
        long_axis = _quantity(codes.LONG_AXIS, finding.long_axis.value, codes.MILLIMETRE)
        long_axis["code"] = codes.LONG_AXIS.concept(f"Long axis in the plane of the {finding.long_axis.plane}")
        components.append(long_axis)
    return {
        "code": codes.KINDS[finding.kind].concept(),
        "valueCodeableConcept": codes.PRESENT.concept(),
        "component": components + _region(finding.region),
    }


def _output(output: Output, image: SOPInstanceUID) -> dict[str, Any]:
    """Present or absent where the card has a threshold; else a value in its unit."""
    unit = (output.unit, output.unit)
    components: list[dict[str, Any]] = [{"code": codes.SOP_INSTANCE_UID.concept(), "valueString": image}]
    said: dict[str, Any] = {"code": {"coding": [output.coding.model_dump()], "text": output.coding.display}}
    if output.threshold is None:
        return said | {"valueQuantity": _value(output.value, unit), "component": components}
    components.append(_quantity(codes.OUTPUT_VALUE, output.value, unit))
    components.append(_quantity(codes.OUTPUT_THRESHOLD, output.threshold, unit))
    answer = codes.PRESENT if output.present else codes.ABSENT
    return said | {"valueCodeableConcept": answer.concept(), "component": components}


def _region(region: Region) -> list[dict[str, Any]]:
    return [
        {"code": codes.SOP_INSTANCE_UID.concept(), "valueString": region.sop_instance_uid},
        {"code": codes.FRAME.concept(), "valueInteger": region.frame},
        _quantity(codes.REGION_LEFT, region.left, codes.PIXELS),
        _quantity(codes.REGION_TOP, region.top, codes.PIXELS),
        _quantity(codes.REGION_WIDTH, region.width, codes.PIXELS),
        _quantity(codes.REGION_HEIGHT, region.height, codes.PIXELS),
    ]


def _quantity(code: codes.Code, value: float, unit: tuple[str, str]) -> dict[str, Any]:
    return {"code": code.concept(), "valueQuantity": _value(value, unit)}


def _value(value: float, unit: tuple[str, str]) -> dict[str, Any]:
    ucum, name = unit
    # repr: the shortest decimal that reads back as the same float
    return {"value": Decimal(repr(float(value))), "unit": name, "system": codes.UCUM, "code": ucum}
