"""Findings as one FHIR R4 Bundle: the value of a record on `ai.findings`."""

from __future__ import annotations

from fhir.resources.R4B.bundle import Bundle

from schemas.findings import Findings
from schemas.renderings.fhir.device import device_of
from schemas.renderings.fhir.observations import observations_of
from schemas.renderings.fhir.provenance import provenance_of
from schemas.renderings.fhir.references import Site, bundle_id, issued
from schemas.renderings.fhir.report import report_of


def bundle_of(findings: Findings, site: Site) -> bytes:
    """A Bundle of type `collection` as UTF-8 JSON: DiagnosticReport, Observations (root first), Device (when a model spoke),
    Provenance. The same Findings give the same bytes. R4B classes: these resources are the same in R4 (4.0.1)."""
    resources = [report_of(findings, site), *observations_of(findings, site)]
    if findings.model is not None:
        resources.append(device_of(findings.model))
    resources.append(provenance_of(findings, site))
    bundle = Bundle.model_validate(
        {
            "id": str(bundle_id(findings)),
            "type": "collection",
            "identifier": {"system": "urn:ietf:rfc3986", "value": findings.analysis_id.urn},
            "timestamp": issued(findings.subject),
            "entry": [{"fullUrl": f"urn:uuid:{resource.id}", "resource": resource} for resource in resources],
        }
    )
    # not model_dump(): that one loses decimals (72.50 becomes 72.5) and leaves dates as objects
    return bundle.model_dump_json().encode("utf-8")
