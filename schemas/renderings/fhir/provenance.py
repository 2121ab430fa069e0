"""Where report and Observations of one analysis come from, as Provenance."""

from __future__ import annotations

from typing import Any

from fhir.resources.R4B.provenance import Provenance

from schemas.findings import Findings
from schemas.renderings.fhir.codes import ASSEMBLER, AUTHOR
from schemas.renderings.fhir.references import (
    Site,
    device_id,
    issued,
    observation_ids,
    provenance_id,
    reference,
    report_id,
    study_reference,
)

#: Who assembled it: the engine. It is no Device of ours to keep on the hospital's server, so it is named by identifier.
ENGINE: dict[str, Any] = {
    "type": "Device",
    "identifier": {"system": "urn:radstream:software", "value": "radstream"},
    "display": "radstream",
}


def provenance_of(findings: Findings, site: Site) -> Provenance:
    """Author is the model (none when nothing was analysed); sources are the study and the images the model saw."""
    agents = [{"type": ASSEMBLER.concept(), "who": ENGINE}]
    if findings.model is not None:
        agents.insert(0, {"type": AUTHOR.concept(), "who": reference("Device", device_id(findings.model))})
    images = [
        {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{image.sop_instance_uid}"}, "display": "DICOM instance"}
        for image in findings.images
    ]
    return Provenance.model_validate(
        {
            "id": str(provenance_id(findings.analysis_id)),
            "target": [
                reference("DiagnosticReport", report_id(findings.subject.study_instance_uid, site, findings.service)),
                *(reference("Observation", id) for id in observation_ids(findings)),
            ],
            "recorded": issued(findings.subject),
            "agent": agents,
            "entity": [
                {"role": "source", "what": what} for what in (study_reference(findings.subject.study_instance_uid), *images)
            ],
        }
    )
