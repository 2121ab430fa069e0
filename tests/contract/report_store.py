"""What every ReportStore must do. Subclasses give the fixture `store`; each test has a study and an accession number of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from uuid import uuid4

import pytest

from schemas.errors import InvalidResource
from schemas.findings import FindingKind, Findings, NotAnalysedReason, Subject
from schemas.identifiers import AccessionNumber, StudyInstanceUID
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.references import observation_id, observation_ids, report_id
from tests.contract.example_findings import (
    DEVICES,
    SITE,
    after_verification,
    devices_alone,
    every_state,
    finding,
    findings,
    not_analysed,
    subject,
    two_findings,
)


class ReadableReportStore(Protocol):
    """A ReportStore and what it takes to look into it."""

    async def put(self, bundle: bytes) -> Acknowledgement: ...
    async def read(self, reference: str) -> dict[str, Any] | None: ...
    async def search_reports(self, accession_number: str) -> list[dict[str, Any]]: ...


class Study:
    """One study that no other test knows, and its states."""

    def __init__(self) -> None:
        number = uuid4().int
        self.uid = StudyInstanceUID(f"2.25.{number}")
        # `|` and `,` mean something in a FHIR search
        self.accession = AccessionNumber(value=f"A|{number},1", assigner="RIS")

    def subject(self, sequence: int) -> Subject:
        return subject(sequence, study=self.uid, accession=self.accession)

    @property
    def report(self) -> str:
        return f"DiagnosticReport/{report_id(self.uid, SITE)}"

    @property
    def report_of_devices(self) -> str:
        """That of another service."""
        return f"DiagnosticReport/{report_id(self.uid, SITE, DEVICES)}"


def observation(of: Findings, ordinal: int) -> str:
    return f"Observation/{observation_id(of.analysis_id, ordinal)}"


async def statuses(store: ReadableReportStore, of: Findings) -> list[str]:
    """Of all its Observations."""
    return [await status_of(store, f"Observation/{id}") for id in observation_ids(of)]


async def status_of(store: ReadableReportStore, reference: str) -> str:
    resource = await store.read(reference)
    assert resource is not None
    return str(resource["status"])


class ReportStoreContract:
    @pytest.fixture
    def study(self) -> Study:
        return Study()

    async def test_is_found_by_accession_number(self, store: ReadableReportStore, study: Study) -> None:
        assert await store.search_reports(study.accession.value) == []
        answer = await store.put(bundle_of(two_findings(study.subject(1)), SITE))
        assert answer == Acknowledgement(f"{study.report}/_history/1")
        (found,) = await store.search_reports(study.accession.value)
        assert f"DiagnosticReport/{found['id']}" == study.report
        assert found["status"] == "partial"
        assert len(found["result"]) == 3

    async def test_repeating_changes_nothing(self, store: ReadableReportStore, study: Study) -> None:
        of = two_findings(study.subject(1))
        bundle = bundle_of(of, SITE)
        answers = [await store.put(bundle) for _ in range(3)]
        assert answers == [Acknowledgement(f"{study.report}/_history/1")] * 3
        for ordinal in range(3):
            resource = await store.read(observation(of, ordinal))
            assert resource is not None
            assert resource["meta"]["versionId"] == "1"
        assert len(await store.search_reports(study.accession.value)) == 1

    async def test_a_new_revision_supersedes_the_old_observations(self, store: ReadableReportStore, study: Study) -> None:
        old, new = two_findings(study.subject(1)), findings(study.subject(2), finding(1))
        await store.put(bundle_of(old, SITE))
        answer = await store.put(bundle_of(new, SITE))
        assert answer == Acknowledgement(f"{study.report}/_history/2")
        for ordinal in range(3):
            assert await status_of(store, observation(old, ordinal)) == "entered-in-error"
        for ordinal in range(2):
            assert await status_of(store, observation(new, ordinal)) == "preliminary"
        # what was said stays readable, and is superseded once
        third = findings(study.subject(3))
        await store.put(bundle_of(third, SITE))
        oldest = await store.read(observation(old, 2))
        assert oldest is not None
        assert oldest["meta"]["versionId"] == "2"
        assert oldest["component"]
        assert await status_of(store, observation(new, 1)) == "entered-in-error"

    async def test_an_order_that_came_later_keeps_the_report(self, store: ReadableReportStore, study: Study) -> None:
        """The same analysis told again: same Observations, which stay live, and now the accession number."""
        about = study.subject(1).model_copy(update={"accession_number": None, "orders": ()})
        of = two_findings(about)
        await store.put(bundle_of(of, SITE))
        assert await store.search_reports(study.accession.value) == []
        await store.put(bundle_of(of.model_copy(update={"subject": study.subject(2)}), SITE))
        (found,) = await store.search_reports(study.accession.value)
        assert f"DiagnosticReport/{found['id']}" == study.report
        assert await status_of(store, observation(of, 2)) == "preliminary"

    async def test_not_analysed_after_findings(self, store: ReadableReportStore, study: Study) -> None:
        old, new = two_findings(study.subject(1)), not_analysed(NotAnalysedReason.ORDER_CANCELLED, study.subject(2))
        await store.put(bundle_of(old, SITE))
        await store.put(bundle_of(new, SITE))
        report = await store.read(study.report)
        assert report is not None
        assert report["status"] == "cancelled"
        assert "the order was cancelled" in report["conclusion"]
        for ordinal in range(3):
            assert await status_of(store, observation(old, ordinal)) == "entered-in-error"
        root = await store.read(observation(new, 0))
        assert root is not None
        assert root["status"] == "cancelled"
        assert "valueCodeableConcept" not in root
        assert root["dataAbsentReason"]["coding"][0]["code"] == "not-performed"

    async def test_an_answer_that_is_marked_and_then_recalled(self, store: ReadableReportStore, study: Study) -> None:
        """As `streams.sequences` numbers them: one after the other, without a gap."""
        said = two_findings(study.subject(4))
        marked = after_verification(said.model_copy(update={"subject": study.subject(5)}))
        recalled = not_analysed(NotAnalysedReason.MODEL_RECALLED, study.subject(6))
        for state in (said, marked):
            await store.put(bundle_of(state, SITE))
        report, root = await store.read(study.report), await store.read(observation(said, 0))
        assert report is not None
        assert report["conclusion"].startswith("After verification:")
        assert root is not None
        assert root["note"][0]["text"].startswith("After verification:")
        assert await statuses(store, said) == ["preliminary"] * 3
        answer = await store.put(bundle_of(recalled, SITE))
        late = [await store.put(bundle_of(state, SITE)) for state in (said, marked)]
        assert late == [Acknowledgement(answer.reference, superseded=True)] * 2
        assert await status_of(store, study.report) == "cancelled"
        assert await statuses(store, said) == ["entered-in-error"] * 3

    async def test_an_earlier_analysis_said_again_is_live_again(self, store: ReadableReportStore, study: Study) -> None:
        old, between = two_findings(study.subject(1)), findings(study.subject(2))
        again = old.model_copy(update={"subject": study.subject(3)})
        for state in (old, between, again):
            await store.put(bundle_of(state, SITE))
        assert await status_of(store, observation(old, 1)) == "preliminary"
        assert await status_of(store, observation(between, 0)) == "entered-in-error"

    async def test_an_older_state_never_replaces_a_newer_one(self, store: ReadableReportStore, study: Study) -> None:
        newer, older = two_findings(study.subject(2)), findings(study.subject(1))
        await store.put(bundle_of(newer, SITE))
        answer = await store.put(bundle_of(older, SITE))
        assert answer == Acknowledgement(f"{study.report}/_history/1", superseded=True)
        assert await store.read(observation(older, 0)) is None
        assert await status_of(store, observation(newer, 0)) == "preliminary"

    async def test_concurrent_states_of_one_study_end_in_the_last(self, store: ReadableReportStore, study: Study) -> None:
        states = [findings(study.subject(n), finding(1, FindingKind.MASS)) for n in range(1, 5)]
        await asyncio.gather(*(store.put(bundle_of(state, SITE)) for state in states))
        assert len(await store.search_reports(study.accession.value)) == 1
        assert await status_of(store, observation(states[-1], 1)) == "preliminary"
        for state in states[:-1]:  # never written, or withdrawn: none is live beside the last
            left = await store.read(observation(state, 1))
            assert left is None or left["status"] == "entered-in-error"

    async def test_concurrent_studies_share_a_new_device(self, store: ReadableReportStore) -> None:
        studies = [Study() for _ in range(4)]
        model = two_findings().model.model_copy(update={"version": str(uuid4())})  # type: ignore[union-attr]
        said = [two_findings(study.subject(1)).model_copy(update={"model": model}) for study in studies]
        answers = await asyncio.gather(*(store.put(bundle_of(of, SITE)) for of in said))
        assert [answer.reference for answer in answers] == [f"{study.report}/_history/1" for study in studies]

    async def test_outputs_are_superseded_as_findings_are(self, store: ReadableReportStore, study: Study) -> None:
        old = every_state()["devices-and-nodule"].model_copy(update={"subject": study.subject(1), "analysis_id": uuid4()})
        new = findings(study.subject(2), finding(1))
        await store.put(bundle_of(old, SITE))
        assert await statuses(store, old) == ["preliminary"] * 6
        await store.put(bundle_of(new, SITE))
        assert await statuses(store, old) == ["entered-in-error"] * 6
        assert await statuses(store, new) == ["preliminary"] * 2

    async def test_two_services_of_one_study_live_side_by_side(self, store: ReadableReportStore, study: Study) -> None:
        """Both answer one request, so their sequence is the same: neither supersedes the other."""
        usual, beside = two_findings(study.subject(2)), devices_alone(study.subject(2))
        answers = [await store.put(bundle_of(of, SITE)) for of in (usual, beside, usual)]
        assert [answer.superseded for answer in answers] == [False] * 3
        assert [answer.reference for answer in answers[:2]] == [
            f"{study.report}/_history/1",
            f"{study.report_of_devices}/_history/1",
        ]
        found = await store.search_reports(study.accession.value)
        assert {f"DiagnosticReport/{one['id']}" for one in found} == {study.report, study.report_of_devices}
        assert await statuses(store, usual) == ["preliminary"] * 3
        assert await statuses(store, beside) == ["preliminary"] * 4

    async def test_what_one_service_says_next_leaves_the_other_alone(self, store: ReadableReportStore, study: Study) -> None:
        usual, beside = two_findings(study.subject(1)), devices_alone(study.subject(1))
        again = devices_alone(study.subject(3))
        withdrawn = not_analysed(NotAnalysedReason.ORDER_CANCELLED, study.subject(2))
        for of in (usual, beside, again):
            await store.put(bundle_of(of, SITE))
        assert await statuses(store, usual) == ["preliminary"] * 3
        assert await statuses(store, beside) == ["entered-in-error"] * 4
        await store.put(bundle_of(withdrawn, SITE))
        assert await statuses(store, usual) == ["entered-in-error"] * 3
        assert await statuses(store, again) == ["preliminary"] * 4
        assert await status_of(store, study.report_of_devices) == "partial"

    async def test_two_services_at_the_same_time(self, store: ReadableReportStore, study: Study) -> None:
        usual, beside = two_findings(study.subject(1)), devices_alone(study.subject(1))
        await asyncio.gather(*(store.put(bundle_of(of, SITE)) for of in (usual, beside)))
        assert len(await store.search_reports(study.accession.value)) == 2
        assert await statuses(store, usual) + await statuses(store, beside) == ["preliminary"] * 7

    @pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"\xff", b'{"resourceType": "Bundle", "entry": [{}]}'])
    async def test_what_is_no_bundle_of_ours_is_invalid(self, store: ReadableReportStore, value: bytes) -> None:
        with pytest.raises(InvalidResource):
            await store.put(value)
