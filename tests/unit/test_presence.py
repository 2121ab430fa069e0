"""Whether there is a nodule or mass: yes, no, or not to be told; said by FHIR as by every other rendering."""

from __future__ import annotations

import pytest

from schemas.findings import Findings, NotAnalysedReason
from tests.contract.example_findings import every_state, findings, indeterminate, not_analysed, two_findings
from tests.unit.fhir_bundles import resources


@pytest.mark.parametrize("state", [state for state in every_state().values() if state.locates])
def test_presence_is_that_of_fhir(state: Findings) -> None:
    root, *_ = resources(state, "Observation")
    assert root["valueCodeableConcept"]["coding"][0]["display"] == (state.presence or "").capitalize()


def test_presence() -> None:
    assert two_findings().presence == "present"
    assert findings().presence == "absent"
    assert indeterminate().presence == "indeterminate"
    assert not_analysed(NotAnalysedReason.LATE).presence is None
