from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from connectors.case_store import SqlCaseStore
from schemas.case_store import Delivery
from schemas.errors import Conflict, FhirServerUnavailable, MalformedMessage
from schemas.events import DeliveryAcknowledged
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.references import report_id
from streams.steps.deliver import deliver
from streams.steps.project import project
from tests.contract.example_findings import DEVICES, SITE, STUDY, devices_alone, findings, not_analysed, subject, two_findings
from tests.contract.fake_report_store import FakeReportStore

REPORT = f"DiagnosticReport/{report_id(STUDY, SITE)}"
REPORTS = (report_id(STUDY, SITE), report_id(STUDY, SITE, DEVICES))


@pytest.fixture
def store() -> FakeReportStore:
    return FakeReportStore()


def found(of: Findings | bytes, offset: int = 3) -> Record:
    value = of if isinstance(of, bytes) else bundle_of(of, SITE)
    return Record(Place("ai.findings", 0, offset), STUDY.encode(), value, (), datetime(2026, 11, 24, 9, tzinfo=UTC))


def said(out: Outgoing) -> DeliveryAcknowledged:
    return DeliveryAcknowledged.model_validate_json(out.value)


async def test_a_state_is_stored_and_told(store: FakeReportStore, cases: SqlCaseStore) -> None:
    of = two_findings()
    (out,) = await deliver(found(of), destination="fhir", store=store, cases=cases)
    assert (out.topic, out.key) == ("radstream.deliveries", f"fhir|{STUDY}".encode())
    event = said(out)
    assert (event.outcome, event.acknowledgement) == ("stored", f"{REPORT}/_history/1")
    assert (event.destination, event.study_instance_uid, event.analysis_id, event.sequence) == ("fhir", STUDY, of.analysis_id, 1)
    assert event.time == of.subject.triggered_at
    held = await cases.delivered("fhir", STUDY)
    assert held is not None
    assert (held.sequence, held.analysis_id, held.acknowledgement) == (1, of.analysis_id, f"{REPORT}/_history/1")


async def test_the_same_record_again_tells_the_same(store: FakeReportStore, cases: SqlCaseStore) -> None:
    record = found(two_findings())
    first = await deliver(record, destination="fhir", store=store, cases=cases)
    assert await deliver(record, destination="fhir", store=store, cases=cases) == first
    assert store.versions[REPORT] == 1


async def test_an_older_state_is_not_sent(store: FakeReportStore, cases: SqlCaseStore) -> None:
    newer, older = two_findings(subject(2)), findings(subject(1))
    await deliver(found(newer), destination="fhir", store=store, cases=cases)
    store.fault = AssertionError("sent")
    (out,) = await deliver(found(older), destination="fhir", store=store, cases=cases)
    assert (said(out).outcome, said(out).sequence, said(out).acknowledgement) == ("superseded", 1, f"{REPORT}/_history/1")
    held = await cases.delivered("fhir", STUDY)
    assert held is not None
    assert held.sequence == 2


async def test_an_older_state_is_not_stored_even_when_only_the_destination_knows(
    store: FakeReportStore, cases: SqlCaseStore, tmp_path: Path
) -> None:
    """Another process has stored the newer one and is about to record it; or the case store was lost, which must be seen."""
    newer = bundle_of(two_findings(subject(2)), SITE)
    await store.put(newer)
    with pytest.raises(Conflict, match="later state"):
        await deliver(found(findings(subject(1))), destination="fhir", store=store, cases=cases)
    assert await cases.delivered("fhir", STUDY) is None
    assert store.versions[REPORT] == 1
    await cases.put_delivery(Delivery("fhir", STUDY, uuid4(), 1, "lower than what stands there"))
    with pytest.raises(Conflict, match="later state"):
        await deliver(found(findings(subject(1))), destination="fhir", store=store, cases=cases)
    await deliver(found(newer), destination="fhir", store=store, cases=cases)
    (out,) = await deliver(found(findings(subject(1))), destination="fhir", store=store, cases=cases)
    assert said(out).outcome == "superseded"


async def test_each_destination_has_its_own_state(store: FakeReportStore, cases: SqlCaseStore) -> None:
    other = FakeReportStore()
    await deliver(found(two_findings(subject(2))), destination="fhir", store=store, cases=cases)
    (out,) = await deliver(found(findings(subject(1))), destination="archive", store=other, cases=cases)
    assert said(out).outcome == "stored"


async def test_each_service_has_its_own_state(store: FakeReportStore, cases: SqlCaseStore) -> None:
    """Two services answer one request, so their sequences are the same; and each goes on by itself."""
    outs: list[Outgoing] = []
    for of in (two_findings(subject(3)), devices_alone(subject(2)), devices_alone(subject(1)), two_findings(subject(3))):
        outs += await deliver(found(of), destination="fhir", store=store, cases=cases)
    assert [said(out).outcome for out in outs] == ["stored", "stored", "superseded", "stored"]
    assert [out.key for out in outs[:2]] == [f"fhir|{STUDY}".encode(), f"fhir#{DEVICES}|{STUDY}".encode()]
    assert [said(out).destination for out in outs[:2]] == ["fhir", f"fhir#{DEVICES}"]
    assert len({said(out).id for out in outs}) == 3
    held = [await cases.delivered(place, STUDY) for place in ("fhir", f"fhir#{DEVICES}")]
    assert [one.sequence for one in held if one is not None] == [3, 2]
    assert all(store.resources[f"DiagnosticReport/{id}"]["status"] == "partial" for id in REPORTS)


async def test_nothing_is_recorded_of_what_was_not_stored(store: FakeReportStore, cases: SqlCaseStore) -> None:
    store.fault = FhirServerUnavailable("fhir", REPORT, "HTTP 503")
    with pytest.raises(FhirServerUnavailable):
        await deliver(found(two_findings()), destination="fhir", store=store, cases=cases)
    assert await cases.delivered("fhir", STUDY) is None
    (out,) = await deliver(found(two_findings()), destination="fhir", store=store, cases=cases)
    assert said(out).outcome == "stored"


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
async def test_any_order_ends_in_the_latest_state(order: tuple[int, ...], store: FakeReportStore, cases: SqlCaseStore) -> None:
    for sequence in (*order, order[0]):
        await deliver(found(findings(subject(sequence))), destination="fhir", store=store, cases=cases)
    live = [r for r in store.resources.values() if r["resourceType"] == "Observation" and r["status"] == "preliminary"]
    assert [r["effectiveDateTime"] for r in live] == ["2026-11-24T08:33:00.123456Z"]
    held = await cases.delivered("fhir", STUDY)
    assert held is not None
    assert held.sequence == 3


@pytest.mark.parametrize("seen", [0, 2, 5])
async def test_of_a_backlog_the_last_state_is_sent_wherever_the_view_is(
    seen: int, store: FakeReportStore, cases: SqlCaseStore
) -> None:
    """5 states of one study, of which the view has `seen` the first."""
    states = [found(findings(subject(number)), offset=number) for number in range(1, 6)]
    for record in states[:seen]:
        await project(record, cases=cases)
    outs = [out for record in states for out in await deliver(record, destination="fhir", store=store, cases=cases)]
    skipped = max(seen - 1, 0)
    assert [said(out).outcome for out in outs] == ["superseded"] * skipped + ["stored"] * (5 - skipped)
    assert store.versions[REPORT] == 5 - skipped
    held = await cases.delivered("fhir", STUDY)
    assert held is not None
    assert held.sequence == 5


@pytest.mark.parametrize("reason", [NotAnalysedReason.MODEL_RECALLED, NotAnalysedReason.LATE])
async def test_what_withdraws_is_sent_although_a_later_state_stands(
    reason: NotAnalysedReason, store: FakeReportStore, cases: SqlCaseStore
) -> None:
    """For that one may be refused; what the person verified then stays with what was recalled in it."""
    withdrawal, later = found(not_analysed(reason, subject(6))), found(two_findings(subject(8)))
    await deliver(found(two_findings(subject(4))), destination="fhir", store=store, cases=cases)
    for record in (withdrawal, later):
        await project(record, cases=cases)
    (out,) = await deliver(withdrawal, destination="fhir", store=store, cases=cases)
    assert said(out).outcome == "stored"
    assert store.resources[REPORT]["status"] == "cancelled"
    await deliver(later, destination="fhir", store=store, cases=cases)
    (out,) = await deliver(withdrawal, destination="fhir", store=store, cases=cases)
    assert (said(out).outcome, store.resources[REPORT]["status"]) == ("superseded", "partial")


async def test_what_is_no_bundle_is_malformed(store: FakeReportStore, cases: SqlCaseStore) -> None:
    with pytest.raises(MalformedMessage) as raised:
        await deliver(found(b'{"patient": "MRN-4711"}'), destination="fhir", store=store, cases=cases)
    assert str(raised.value) == "deliver: ai.findings/0/3: not a Bundle of ai.findings"
