"""Required value sets of R4, which fhir.resources does not check."""

from __future__ import annotations

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.provenance import Provenance

from schemas.renderings.fhir.resource import resource_of
from tests.contract.example_findings import (
    two_findings,
)
from tests.unit.fhir_bundles import report, resources


@pytest.mark.parametrize("status", ["final", "amended", "partly"])
def test_a_status_that_is_none_or_that_no_machine_may_say_is_refused(status: str) -> None:
    """fhir.resources takes any."""
    said = report(two_findings())
    del said["resourceType"]
    assert resource_of(DiagnosticReport, said)["status"] == "partial"
    with pytest.raises(ValueError, match="DiagnosticReport.status"):
        resource_of(DiagnosticReport, said | {"status": status})


def test_a_code_deep_inside_is_checked_too() -> None:
    (said,) = resources(two_findings(), "Provenance")
    del said["resourceType"]
    said["entity"][-1]["role"] = "origin"
    with pytest.raises(ValueError, match="Provenance.entity.role"):
        resource_of(Provenance, said)
