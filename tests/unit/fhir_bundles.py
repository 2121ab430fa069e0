"""Looking into Bundles of ai.findings."""

from __future__ import annotations

import json
from typing import Any

from schemas.findings import Findings
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.provenance import Origin
from schemas.renderings.fhir.references import Site
from tests.contract.example_findings import (
    SITE,
)


def resources(of: Findings, type: str, site: Site = SITE, *, origin: Origin | None = None) -> list[dict[str, Any]]:
    entries = json.loads(bundle_of(of, site, origin))["entry"]
    return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == type]


def report(of: Findings, site: Site = SITE) -> dict[str, Any]:
    (found,) = resources(of, "DiagnosticReport", site)
    return found


def components(observation: dict[str, Any]) -> dict[str, Any]:
    """Value by code."""
    values = {}
    for component in observation["component"]:
        (name,) = (key for key in component if key.startswith("value"))
        value = component[name]
        values[component["code"]["coding"][0]["code"]] = value["value"] if name == "valueQuantity" else value
    return values
