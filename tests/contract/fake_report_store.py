"""The port ReportStore in memory: what tests of steps use instead of a FHIR server. Kept true by ReportStoreContract."""

from __future__ import annotations

from schemas.errors import InvalidResource, ResourceRefused
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.codes import AI_ASSERTED
from schemas.renderings.fhir.envelope import ENTERED_IN_ERROR, VERIFIED, Envelope, Resource, open_bundle, sequence_of, with_sequence


class FakeReportStore:
    """`fault`, once set, is raised instead of the next answer."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.versions: dict[str, int] = {}
        self.fault: Exception | None = None

    async def put(self, bundle: bytes) -> Acknowledgement:
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        try:
            envelope = open_bundle(bundle)
        except ValueError as error:
            raise InvalidResource("fake", "bundle", str(error)) from None
        name = f"DiagnosticReport/{envelope.report['id']}"
        current = self.resources.get(name, {})
        status = current.get("status")
        if status in VERIFIED and not envelope.withdraws:
            raise ResourceRefused("fake", name, f"a person has made the report {status}")
        superseded = sequence_of(current) > envelope.sequence
        if not superseded and envelope.withdraws and status in (*VERIFIED, ENTERED_IN_ERROR):
            self._in_error(current, kept=set())
            self._write(name, with_sequence(current, envelope.sequence) | {"status": ENTERED_IN_ERROR})
        elif not superseded:
            self._replace(current, envelope)
        return Acknowledgement(f"{name}/_history/{self.versions[name]}", superseded)

    async def read(self, reference: str) -> Resource | None:
        if reference not in self.resources:
            return None
        resource = self.resources[reference]
        return resource | {"meta": resource.get("meta", {}) | {"versionId": str(self.versions[reference])}}

    async def search_reports(self, accession_number: str) -> list[Resource]:
        return [
            resource
            for resource in self.resources.values()
            if resource["resourceType"] == "DiagnosticReport"
            and accession_number in [identifier["value"] for identifier in resource["identifier"]]
        ]

    async def close(self) -> None:
        """Nothing to close."""

    def _replace(self, current: Resource, envelope: Envelope) -> None:
        new = {f"{resource['resourceType']}/{resource['id']}": resource for resource in envelope.resources}
        self._in_error(current, kept=set(new))
        for reference, resource in new.items():
            self._write(reference, resource)

    def _in_error(self, report: Resource, kept: set[str]) -> None:
        for result in report.get("result", ()):
            old = f"Observation/{result['reference'].removeprefix('urn:uuid:')}"
            if old not in kept and self.resources[old].get("meta", {}).get("security") == [AI_ASSERTED.coding]:
                self._write(old, self.resources[old] | {"status": ENTERED_IN_ERROR})

    def _write(self, reference: str, resource: Resource) -> None:
        if self.resources.get(reference) != resource:
            self.versions[reference] = self.versions.get(reference, 0) + 1
            self.resources[reference] = resource
