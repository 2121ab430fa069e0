"""Where report and Observations of one analysis come from, as Provenance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhir.resources.R4B.provenance import Provenance

from schemas.findings import AnalysedImage, Findings, MessageReference
from schemas.outputs import Output
from schemas.renderings.fhir.codes import ASSEMBLER, AUTHOR, UNITY
from schemas.renderings.fhir.envelope import Resource
from schemas.renderings.fhir.observations import quantity
from schemas.renderings.fhir.references import (
    Site,
    device_id,
    instant,
    observation_ids,
    provenance_id,
    reference,
    report_id,
    study_reference,
)
from schemas.renderings.fhir.resource import resource_of

#: Who assembled it: the engine. It is no Device of ours to keep on the hospital's server, so it is named by identifier.
ENGINE: dict[str, Any] = {
    "type": "Device",
    "identifier": {"system": "urn:radstream:software", "value": "radstream"},
    "display": "radstream",
}
#: Extension on the Provenance: W3C Trace Context trace-id of the message that led to this state
TRACE_ID = "urn:radstream:extension:trace-id"
#: Extension on a source image: what the model saw and said of it (`AnalysedImage`), which no R4 resource of ours has a place for
ANALYSED_IMAGE = "urn:radstream:extension:analysed-image"
#: System of a place in the log: topic/partition/offset
RECORD = "urn:radstream:record"
#: System of MSH-10 of a message; who gave it that number, MSH-3 and MSH-4, is its assigner
MESSAGE = "urn:radstream:hl7v2-message"
#: where messages of HL7 v2 lie as they were received
_MESSAGES = "hl7.v2.raw/"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the log knows of a state and Findings do not: `trace_id`, 32 hexadecimal digits; `records`, the places of those that led
    to it, HL7 messages among them."""

    trace_id: str | None = None
    records: tuple[str, ...] = ()


def provenance_of(findings: Findings, site: Site, origin: Origin | None = None) -> Resource:
    """Author is the model (none when nothing was analysed); sources are the study, the images the model saw, the messages that
    ordered it, and records."""
    origin = origin or Origin()
    agents = [{"type": ASSEMBLER.concept(), "who": ENGINE}]
    if findings.model is not None:
        agents.insert(0, {"type": AUTHOR.concept(), "who": reference("Device", device_id(findings.model))})
    study = findings.subject.study_instance_uid
    elements: dict[str, Any] = {
        "id": str(provenance_id(findings.analysis_id)),
        "target": [
            reference("DiagnosticReport", report_id(study, site, findings.service)),
            *(reference("Observation", id) for id in observation_ids(findings)),
        ],
        "recorded": instant(findings.subject.triggered_at),
        "agent": agents,
        "entity": [
            {"role": "source", "what": study_reference(study)},
            *(_image(image) for image in findings.images),
            *(_message(message) for message in findings.subject.messages),
            *(_record(place) for place in origin.records),
        ],
    }
    if origin.trace_id:
        elements["extension"] = [{"url": TRACE_ID, "valueString": origin.trace_id}]
    return resource_of(Provenance, elements)


def _message(message: MessageReference) -> dict[str, Any]:
    number = {"system": MESSAGE, "value": message.message_control_id, "assigner": {"display": message.sender}}
    return {"role": "source", "what": {"identifier": number, "display": "HL7 v2 message"}}


def _record(place: str) -> dict[str, Any]:
    what = "HL7 v2 message as received" if place.startswith(_MESSAGES) else "Kafka record"
    return {"role": "source", "what": {"identifier": {"system": RECORD, "value": place}, "display": what}}


def _image(image: AnalysedImage) -> dict[str, Any]:
    said: list[dict[str, Any]] = [
        {"url": "pixel-sha256", "valueString": image.pixel_sha256},
        {"url": "rows", "valuePositiveInt": image.rows},
        {"url": "columns", "valuePositiveInt": image.columns},
    ]
    if image.probability is not None:
        said.append({"url": "probability", "valueQuantity": quantity(image.probability, UNITY)})
    said += [{"url": "output", "extension": _output(output)} for output in image.outputs]
    identifier = {"system": "urn:dicom:uid", "value": f"urn:oid:{image.sop_instance_uid}"}
    return {
        "extension": [{"url": ANALYSED_IMAGE, "extension": said}],
        "role": "source",
        "what": {"identifier": identifier, "display": "DICOM instance"},
    }


def _output(output: Output) -> list[dict[str, Any]]:
    unit = (output.unit, output.unit)
    said: list[dict[str, Any]] = [
        {"url": "name", "valueCode": output.name},
        {"url": "code", "valueCoding": output.coding.model_dump()},
        {"url": "value", "valueQuantity": quantity(output.value, unit)},
    ]
    return said if output.threshold is None else [*said, {"url": "threshold", "valueQuantity": quantity(output.threshold, unit)}]
