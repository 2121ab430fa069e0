"""What delivery must know of a Bundle on `ai.findings`, read from its JSON alone (no FHIR library, no copy in headers that a
replay or a subscriber could lose)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, WITHDRAWING, NotAnalysedReason, ServiceName
from schemas.identifiers import StudyInstanceUID
from schemas.renderings.fhir.codes import NOT_ANALYSED

#: Extension on our DiagnosticReport: `Subject.sequence`. On the server it says which state is there, so that an older one never
#: replaces a newer one, whoever sends it.
SEQUENCE = "urn:radstream:extension:sequence"
#: Extension on our DiagnosticReport: `Findings.service`, where it is another than the one that every study has.
SERVICE = "urn:radstream:extension:service"

#: Extension on our DiagnosticReport: `Findings.verified_at`, where the answer came after a radiologist had verified the report.
VERIFIED_AT = "urn:radstream:extension:verified-at"
#: Extensions on our DiagnosticReport: `Subject.revision`; `Subject.outward`, where it is false.
REVISION = "urn:radstream:extension:study-revision"
OUTWARD = "urn:radstream:extension:outward"

#: R4 diagnostic-report-status: only a person makes a report one of these (rule 10)
VERIFIED = frozenset({"final", "amended", "corrected", "appended"})
#: R4 diagnostic-report-status and observation-status: must not be read any more
ENTERED_IN_ERROR = "entered-in-error"

_service_name: TypeAdapter[str] = TypeAdapter(ServiceName)

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """`service`: whose report it is; `time`: that of the record which triggered the state; `withdraws`: nothing said before may
    stand; `resources` as in the Bundle, `report` is one of them."""

    service: str
    analysis_id: UUID
    study_instance_uid: StudyInstanceUID
    sequence: int
    time: datetime
    withdraws: bool
    report: Resource
    resources: tuple[Resource, ...]


def sequence_of(report: Mapping[str, Any]) -> int:
    """0 when the DiagnosticReport does not say: older than any state of ours."""
    values = [e.get("valuePositiveInt") for e in report.get("extension", ()) if e.get("url") == SEQUENCE]
    return int(values[0]) if values and values[0] else 0


def with_sequence(report: Resource, sequence: int) -> Resource:
    """The same, but of this state."""
    others = [extension for extension in report.get("extension", ()) if extension.get("url") != SEQUENCE]
    return report | {"extension": [{"url": SEQUENCE, "valuePositiveInt": sequence}, *others]}


def _service_of(report: Mapping[str, Any]) -> str:
    """Raises ValueError."""
    values = [e["valueCode"] for e in report.get("extension", ()) if e.get("url") == SERVICE]
    return _service_name.validate_python(values[0]) if values else CHEST_RADIOGRAPH_FINDINGS


_REASONS = {(code.system, code.code): reason for reason, code in NOT_ANALYSED.items()}


def not_analysed_reason(observation: Mapping[str, Any]) -> NotAnalysedReason | None:
    """As a root Observation of ours says it; None when it does not."""
    codings = observation.get("dataAbsentReason", {}).get("coding", ())
    return next(filter(None, (_REASONS.get((coding.get("system"), coding.get("code"))) for coding in codings)), None)


def open_bundle(value: bytes) -> Envelope:
    """Raises ValueError, whose text holds nothing of the content."""
    try:
        bundle = json.loads(value)
        resources = tuple(entry["resource"] for entry in bundle["entry"])
        (report,) = (resource for resource in resources if resource["resourceType"] == "DiagnosticReport")
        if any(not resource["id"] for resource in resources):
            raise ValueError
        envelope = Envelope(
            service=_service_of(report),
            analysis_id=UUID(bundle["identifier"]["value"]),
            study_instance_uid=StudyInstanceUID(report["imagingStudy"][0]["identifier"]["value"].removeprefix("urn:oid:")),
            sequence=sequence_of(report),
            time=datetime.fromisoformat(bundle["timestamp"]),
            withdraws=any(not_analysed_reason(resource) in WITHDRAWING for resource in resources),
            report=report,
            resources=resources,
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError("not a Bundle of ai.findings") from None
    if envelope.sequence < 1 or envelope.time.tzinfo is None:
        raise ValueError("not a Bundle of ai.findings")
    return envelope
