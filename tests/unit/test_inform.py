"""Which state a destination is told, and which not."""

from __future__ import annotations

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import Conflict, MalformedMessage, ReceiverUnavailable
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Acknowledgement, Place, Record
from streams.steps.inform import inform
from streams.steps.project import project
from tests.contract.example_findings import DEVICES, STUDY, devices_alone, findings, not_analysed, subject, two_findings
from tests.contract.fake_reporting_system import FakeReportingSystem
from tests.unit.informing import RIS, Documents, record_of, said


@pytest.fixture
def system() -> FakeReportingSystem:
    return FakeReportingSystem()


async def test_a_state_is_told_and_recorded(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    of = two_findings(subject(4))
    (out,) = await inform(record_of(of), destination=RIS, tell=system.tell, tellings=cases)
    assert (out.topic, out.key) == ("radstream.deliveries", f"ris|{STUDY}".encode())
    event = said([out])
    assert (event.destination, event.study_instance_uid, event.analysis_id, event.sequence) == (RIS, STUDY, of.analysis_id, 4)
    assert (event.outcome, event.time) == ("stored", of.subject.triggered_at)
    assert event.acknowledgement.endswith(" 4")
    assert system.told == [of]


async def test_what_was_answered_is_not_told_again_but_recorded_again(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    record = record_of(two_findings(subject(4)))
    first = await inform(record, destination=RIS, tell=system.tell, tellings=cases)
    assert await inform(record, destination=RIS, tell=system.tell, tellings=cases) == first
    assert len(system.told) == 1


async def test_what_was_not_answered_is_told_again(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    record = record_of(two_findings(subject(4)))
    system.fault = ReceiverUnavailable("fake", "receiver", "the answer was lost")
    with pytest.raises(ReceiverUnavailable):
        await inform(record, destination=RIS, tell=system.tell, tellings=cases)
    assert said(await inform(record, destination=RIS, tell=system.tell, tellings=cases)).outcome == "stored"
    assert len(system.told) == 1


async def test_an_older_state_is_not_told(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    await inform(record_of(two_findings(subject(8))), destination=RIS, tell=system.tell, tellings=cases)
    event = said(await inform(record_of(findings(subject(4))), destination=RIS, tell=system.tell, tellings=cases))
    assert (event.outcome, event.sequence) == ("superseded", 4)
    assert [one.subject.sequence for one in system.told] == [8]


async def test_each_destination_and_each_service_has_its_own_state(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    other = FakeReportingSystem()
    await inform(record_of(two_findings(subject(8))), destination=RIS, tell=system.tell, tellings=cases)
    outs = [
        await inform(record_of(devices_alone(subject(4))), destination=RIS, tell=system.tell, tellings=cases),
        await inform(record_of(findings(subject(4))), destination="pacs", tell=other.tell, tellings=cases),
    ]
    assert [(said(out).destination, said(out).outcome) for out in outs] == [(f"ris#{DEVICES}", "stored"), ("pacs", "stored")]


async def test_what_is_for_ourselves_only_is_told_to_nobody(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    quiet = findings(subject(4).model_copy(update={"outward": False}))
    await project(record_of(quiet), cases=cases)
    assert await inform(record_of(quiet), destination=RIS, tell=system.tell, tellings=cases) == []
    assert system.told == []
    assert await cases.latest_state("ai.results", STUDY, quiet.service) == 0


async def test_what_is_no_findings_is_malformed(system: FakeReportingSystem, cases: SqlCaseStore) -> None:
    good = record_of(findings())
    bad = Record(Place("ai.results", 0, 3), good.key, b'{"patient": "MRN-4711"}', (), good.timestamp)
    with pytest.raises(MalformedMessage) as raised:
        await inform(bad, destination=RIS, tell=system.tell, tellings=cases)
    assert str(raised.value) == "inform: ai.results/0/3: the value is not Findings as JSON"


@pytest.mark.parametrize("seen", [0, 2, 5])
async def test_of_a_backlog_the_last_state_is_told_wherever_the_view_is(seen: int, cases: SqlCaseStore) -> None:
    """5 states of one study, of which the view has `seen` the first: it costs tellings, never the last state."""
    receiver = Documents()
    states = [record_of(findings(subject(4 * number)), offset=number) for number in range(1, 6)]
    for record in states[:seen]:
        await project(record, cases=cases)
    events = [said(await inform(record, destination=RIS, tell=receiver.tell, tellings=cases)) for record in states]
    assert receiver.live == {20}
    skipped = max(seen - 1, 0)
    assert [event.outcome for event in events] == ["superseded"] * skipped + ["stored"] * (5 - skipped)
    assert len(receiver.tellings) == 5 - skipped


async def test_a_later_state_of_another_service_is_none(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await project(record_of(devices_alone(subject(8))), cases=cases)
    event = said(await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases))
    assert event.outcome == "stored"


@pytest.mark.parametrize("reason", [NotAnalysedReason.MODEL_RECALLED, NotAnalysedReason.LATE])
async def test_what_withdraws_is_told_although_a_later_state_stands(reason: NotAnalysedReason, cases: SqlCaseStore) -> None:
    """For that one may be refused."""
    receiver = Documents()
    withdrawal, later = record_of(not_analysed(reason, subject(7))), record_of(findings(subject(8)))
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    for record in (withdrawal, later):
        await project(record, cases=cases)
    assert said(await inform(withdrawal, destination=RIS, tell=receiver.tell, tellings=cases)).outcome == "stored"
    assert receiver.live == set()


async def test_who_knows_more_than_we_ever_told_is_for_a_person_to_see(cases: SqlCaseStore) -> None:
    """Or another process has told it just now."""

    async def tell(findings: Findings, held: Findings | None) -> Acknowledgement:
        return Acknowledgement("state 8", superseded=True)

    with pytest.raises(Conflict, match="later state"):
        await inform(record_of(findings(subject(4))), destination=RIS, tell=tell, tellings=cases)

    async def tell_beside_another(findings: Findings, held: Findings | None) -> Acknowledgement:
        await cases.begin_telling(RIS, STUDY, 8, b"{}")
        return await tell(findings, held)

    event = said(await inform(record_of(findings(subject(4))), destination=RIS, tell=tell_beside_another, tellings=cases))
    assert (event.outcome, event.sequence, event.acknowledgement) == ("superseded", 4, "state 8")
