"""What every ReportStore must do with a report that a person has verified, and with what she observed. As ReportStoreContract."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from schemas.errors import ResourceRefused
from schemas.findings import WITHDRAWING, Findings, NotAnalysedReason
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import sequence_of
from tests.contract.example_findings import SITE, finding, findings, not_analysed, two_findings
from tests.contract.report_store import ReadableReportStore, Study, status_of, statuses

WORDS_OF_A_PERSON = "Nodule in the right upper lobe, 31 mm. CT is advised."


def as_a_person_left_it(of: Findings, status: str) -> bytes:
    """The report verified by a radiologist, with words of her own; the Observations too."""
    bundle = json.loads(bundle_of(of, SITE))
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport":
            resource |= {"status": status, "conclusion": WORDS_OF_A_PERSON}
        elif resource["resourceType"] == "Observation":
            resource["status"] = "final"
    return json.dumps(bundle).encode()


def with_a_persons_observation(bundle: bytes) -> tuple[bytes, str]:
    """The same, and what a person had measured is a result of the report too; and the reference of that."""
    of = json.loads(bundle)
    reports = [entry["resource"] for entry in of["entry"] if entry["resource"]["resourceType"] == "DiagnosticReport"]
    id = str(uuid4())
    hers = {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "Cobb angle"}, "valueString": "12 degrees"}
    reports[0]["result"].append({"reference": f"urn:uuid:{id}"})
    of["entry"].append({"fullUrl": f"urn:uuid:{id}", "resource": hers})
    return json.dumps(of).encode(), f"Observation/{id}"


class VerifiedReportsContract:
    @pytest.fixture
    def study(self) -> Study:
        return Study()

    async def test_what_a_person_has_verified_is_not_replaced(self, store: ReadableReportStore, study: Study) -> None:
        verified = json.loads(bundle_of(two_findings(study.subject(1)), SITE))
        verified["entry"][0]["resource"]["status"] = "final"
        assert verified["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"
        await store.put(json.dumps(verified).encode())
        with pytest.raises(ResourceRefused, match="person"):
            await store.put(bundle_of(findings(study.subject(2)), SITE))
        report = await store.read(study.report)
        assert report is not None
        assert (report["status"], report["meta"]["versionId"]) == ("final", "1")

    @pytest.mark.parametrize("status", ["final", "amended", "corrected", "appended"])
    async def test_what_a_person_has_verified_is_withdrawn_when_it_was_about_nothing(
        self, store: ReadableReportStore, study: Study, status: str
    ) -> None:
        """The patient was another one, say: nothing of it may stand, and the person's words are not lost."""
        of = two_findings(study.subject(1))
        await store.put(as_a_person_left_it(of, status))
        withdrawn = bundle_of(not_analysed(NotAnalysedReason.IDENTITY_MISMATCH, study.subject(2)), SITE)
        answer = await store.put(withdrawn)
        assert answer == Acknowledgement(f"{study.report}/_history/2")
        report = await store.read(study.report)
        assert report is not None
        assert (report["status"], report["conclusion"]) == ("entered-in-error", WORDS_OF_A_PERSON)
        assert sequence_of(report) == 2
        assert await statuses(store, of) == ["entered-in-error"] * 3
        assert len(await store.search_reports(study.accession.value)) == 1
        # repeating changes nothing, and what comes late from before is not told again
        assert await store.put(withdrawn) == answer
        late = await store.put(bundle_of(findings(study.subject(1)), SITE))
        assert late == Acknowledgement(answer.reference, superseded=True)

    async def test_what_does_not_withdraw_leaves_a_verified_report_alone(self, store: ReadableReportStore, study: Study) -> None:
        await store.put(as_a_person_left_it(two_findings(study.subject(1)), "final"))
        for reason in set(NotAnalysedReason) - WITHDRAWING:
            with pytest.raises(ResourceRefused, match="person"):
                await store.put(bundle_of(not_analysed(reason, study.subject(2)), SITE))
        assert await status_of(store, study.report) == "final"

    @pytest.mark.parametrize(
        ("status", "reason"), [("partial", None), ("partial", NotAnalysedReason.NO_IMAGE), ("final", NotAnalysedReason.NO_IMAGE)]
    )
    async def test_what_a_person_observed_is_hers(
        self, store: ReadableReportStore, study: Study, status: str, reason: NotAnalysedReason | None
    ) -> None:
        """Neither a withdrawal nor a later state touches an Observation that no machine asserted, though our report lists it."""
        of, next_state = two_findings(study.subject(1)), study.subject(2)
        before = as_a_person_left_it(of, status) if status == "final" else bundle_of(of, SITE)
        bundle, hers = with_a_persons_observation(before)
        await store.put(bundle)
        await store.put(bundle_of(findings(next_state) if reason is None else not_analysed(reason, next_state), SITE))
        assert await statuses(store, of) == ["entered-in-error"] * 3
        left = await store.read(hers)
        assert left is not None
        assert (left["status"], left["valueString"], left["meta"]["versionId"]) == ("final", "12 degrees", "1")

    async def test_an_older_withdrawal_does_not_reach_what_was_verified_later(
        self, store: ReadableReportStore, study: Study
    ) -> None:
        of = two_findings(study.subject(3))
        await store.put(as_a_person_left_it(of, "final"))
        answer = await store.put(bundle_of(not_analysed(NotAnalysedReason.NO_IMAGE, study.subject(2)), SITE))
        assert answer == Acknowledgement(f"{study.report}/_history/1", superseded=True)
        assert await status_of(store, study.report) == "final"
        assert await statuses(store, of) == ["final"] * 3

    async def test_after_a_withdrawal_the_study_can_have_a_report_again(self, store: ReadableReportStore, study: Study) -> None:
        """The images came back, or the patient was identified."""
        old, new = two_findings(study.subject(1)), findings(study.subject(3), finding(1))
        await store.put(as_a_person_left_it(old, "final"))
        await store.put(bundle_of(not_analysed(NotAnalysedReason.NO_IMAGE, study.subject(2)), SITE))
        await store.put(bundle_of(new, SITE))
        assert await status_of(store, study.report) == "partial"
        assert await statuses(store, old) == ["entered-in-error"] * 3
        assert await statuses(store, new) == ["preliminary"] * 2
