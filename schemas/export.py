"""The JSON Schemas of all values on the topics, by CloudEvents type: what a subscriber builds upon. Written to schemas/json by
`python -m streams.asyncapi`, checked for drift by a test."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from schemas.acts import ACTS
from schemas.checkpoints import CheckpointSigned
from schemas.discrepancies import DISCREPANCY_EVENTS
from schemas.events import (
    FINDINGS_TYPE,
    ORDER_EVENTS,
    PATIENT_EVENTS,
    REPORT_EVENTS,
    DeliveryAcknowledged,
    Event,
    MessageRejected,
)
from schemas.findings import Findings
from schemas.model_events import MODEL_EVENTS
from schemas.notices import StudyNoticed
from schemas.study_events import AnalysisRequested, StudyCompleted

#: Every tool reads it, and AsyncAPI builds on it; nothing of ours needs a later one.
_DIALECT = "http://json-schema.org/draft-07/schema#"

_EVENTS: tuple[type[Event], ...] = (
    MessageRejected,
    *ORDER_EVENTS.values(),
    *REPORT_EVENTS.values(),
    *PATIENT_EVENTS.values(),
    StudyNoticed,
    StudyCompleted,
    AnalysisRequested,
    *DISCREPANCY_EVENTS.values(),
    *MODEL_EVENTS.values(),
    *ACTS.values(),
    CheckpointSigned,
    DeliveryAcknowledged,
)

#: by CloudEvents type: all that is JSON and ours (a FHIR Bundle has the schema of HL7)
SHAPES: dict[str, type[BaseModel]] = {FINDINGS_TYPE: Findings, **{kind.TYPE: kind for kind in _EVENTS}}


def json_schema(type: str) -> dict[str, Any]:
    """Of one shape. Fields with a default are not required, because records of before such a field came stay on the topics; fields
    that are not named are allowed, because one may be added within a version."""
    found: dict[str, Any] = _opened(SHAPES[type].model_json_schema(ref_template="#/definitions/{model}"))
    definitions = found.pop("$defs", {})
    head: dict[str, Any] = {"$schema": _DIALECT, "$id": f"urn:radstream:schema:{type}"}
    return head | found | ({"definitions": definitions} if definitions else {})


def _opened(node: Any) -> Any:
    """Without `additionalProperties: false`: we refuse what we do not know, a subscriber shall not."""
    if isinstance(node, dict):
        return {key: _opened(value) for key, value in node.items() if not (key == "additionalProperties" and value is False)}
    return [_opened(one) for one in node] if isinstance(node, list) else node
