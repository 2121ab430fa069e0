"""A FHIR server behind the steps `report` and `deliver`."""

from __future__ import annotations

from typing import Any

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing
from schemas.renderings.fhir.references import report_id
from streams.steps.deliver import deliver
from streams.steps.report import report
from tests.contract.example_findings import SITE
from tests.contract.fake_report_store import FakeReportStore
from tests.unit.answers import record
from tests.unit.cases import Hospital


class Receiver:
    """Of the study 1.2.3."""

    def __init__(self, hospital: Hospital) -> None:
        self._cases = hospital.cases
        self.store = FakeReportStore()

    async def hears(self, *results: Outgoing) -> None:
        for offset, out in enumerate(results):
            for bundle in await report(record(out, offset), site=SITE):
                await deliver(record(bundle, offset), destination="fhir", store=self.store, cases=self._cases)

    def report_of(self, service: str) -> dict[str, Any] | None:
        return self.store.resources.get(f"DiagnosticReport/{report_id(StudyInstanceUID('1.2.3'), SITE, service)}")

    @property
    def report(self) -> dict[str, Any]:
        """The usual one."""
        found = self.report_of(CHEST_RADIOGRAPH_FINDINGS)
        assert found is not None
        return found

    @property
    def live(self) -> int:
        """Observations of whatever report that a person would believe."""
        observations = [one for one in self.store.resources.values() if one["resourceType"] == "Observation"]
        return sum(one["status"] not in ("entered-in-error", "cancelled") for one in observations)
