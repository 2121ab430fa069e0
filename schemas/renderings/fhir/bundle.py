"""Findings as one FHIR R4 Bundle: the value of a record on `ai.findings`."""

from __future__ import annotations

import json

from schemas.findings import Findings
from schemas.renderings.fhir.device import device_of
from schemas.renderings.fhir.observations import observations_of
from schemas.renderings.fhir.provenance import Origin, provenance_of
from schemas.renderings.fhir.references import Site, bundle_id, instant
from schemas.renderings.fhir.report import report_of


def bundle_of(findings: Findings, site: Site, origin: Origin | None = None) -> bytes:
    """A Bundle of type `collection` as UTF-8 JSON: DiagnosticReport, Observations (root first), Device (when a model spoke),
    Provenance. The same Findings from the same origin give the same bytes; `reading.findings_of` gives the Findings back."""
    resources = [report_of(findings, site), *observations_of(findings, site)]
    if findings.model is not None:
        resources.append(device_of(findings.model))
    resources.append(provenance_of(findings, site, origin))
    bundle = {
        "resourceType": "Bundle",
        "id": str(bundle_id(findings)),
        "identifier": {"system": "urn:ietf:rfc3986", "value": findings.analysis_id.urn},
        "type": "collection",
        "timestamp": instant(findings.subject.triggered_at),
        "entry": [{"fullUrl": f"urn:uuid:{resource['id']}", "resource": resource} for resource in resources],
    }
    # not by fhir.resources: it takes twice as long for the text as for the check. A float is written as the shortest decimal that
    # reads back as the same float
    return json.dumps(bundle, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
