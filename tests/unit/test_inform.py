"""Which state a destination is told, which not, and what it is told that it holds."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.errors import (
    Conflict,
    InvalidResource,
    ItemNotServed,
    MalformedMessage,
    RadstreamError,
    ReceiverUnavailable,
    ResourceRefused,
)
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Acknowledgement, Place, Record
from streams.steps.inform import inform
from streams.steps.project import project
from tests.contract.example_findings import DEVICES, STUDY, devices_alone, findings, not_analysed, subject, two_findings
from tests.contract.fake_reporting_system import FakeReportingSystem
from tests.unit.informing import Documents, record_of, said

RIS = "ris"


def withdrawn(sequence: int) -> Findings:
    return not_analysed(NotAnalysedReason.MODEL_RECALLED, subject(sequence))


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


async def test_a_withdrawal_that_was_cut_off_withdraws_what_was_told_before_it(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ReceiverUnavailable("fake", "receiver", "away"), False)]
    withdrawal = record_of(withdrawn(6))
    with pytest.raises(ReceiverUnavailable):
        await inform(withdrawal, destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == {4}
    await inform(withdrawal, destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == set()


async def test_what_perhaps_arrived_is_withdrawn_too(cases: SqlCaseStore) -> None:
    """State 8 was parked, but is there; so is 4."""
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ItemNotServed("fake", "study", "HTTP 500"), False)]
    with pytest.raises(ItemNotServed):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.live.add(8)
    await inform(record_of(withdrawn(10)), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == set()


async def test_a_state_is_told_once_for_each_that_may_be_there_and_none_that_is_past(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ResourceRefused("fake", "study", "HTTP 422", b"why"), False)] * 2
    with pytest.raises(ResourceRefused) as raised:
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert raised.value.operation_outcome == b"why"
    await inform(record_of(findings(subject(12))), destination=RIS, tell=receiver.tell, tellings=cases)
    await inform(record_of(findings(subject(16))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.tellings == [(4, None), (12, 4), (12, 8), (16, 12)]
    assert receiver.live == {16}


REFUSED = ResourceRefused("fake", "study", "HTTP 422")
UNWRITABLE = InvalidResource("fake", "study", "a number cannot be written")


@pytest.mark.parametrize("refused", [REFUSED, UNWRITABLE])
async def test_a_refused_state_keeps_no_later_one_back(refused: RadstreamError, cases: SqlCaseStore) -> None:
    """Whatever says that 4 does not hold is refused, too: 8 and the recall are told all the same, and 4 is not forgotten."""
    receiver = Documents()
    receiver.faults = [(refused, False)]
    with pytest.raises(type(refused)):
        await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(refused, False)]
    with structlog.testing.capture_logs() as logs:
        event = said(await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases))
    assert (event.outcome, event.acknowledgement, receiver.live) == ("stored", "document 8", {8})
    assert [(line["log_level"], line["alarm"], line["error"]) for line in logs] == [("error", True, str(refused))]
    receiver.faults = [(None, True), (refused, False)]
    await inform(record_of(withdrawn(10)), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == set()
    await inform(record_of(findings(subject(12))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.tellings == [(8, None), (10, 8), (12, 10), (12, 4)]


async def test_what_is_refused_of_one_is_told_of_the_others(cases: SqlCaseStore) -> None:
    """4 is there, 8 was refused, 12 arrived without an answer: the recall that is refused of 8 takes 4 and 12 away."""
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(REFUSED, False)] * 2
    with pytest.raises(ResourceRefused):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ReceiverUnavailable("fake", "receiver", "the answer was lost"), False)]
    with pytest.raises(ReceiverUnavailable):
        await inform(record_of(findings(subject(12))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.live.add(12)
    receiver.faults = [(None, True), (REFUSED, False)]
    await inform(record_of(withdrawn(14)), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == set()


async def test_what_is_not_served_of_one_is_told_of_the_others_and_tried_again(cases: SqlCaseStore) -> None:
    receiver, unserved = Documents(), ItemNotServed("fake", "study", "AE")
    receiver.faults = [(unserved, False)]
    with pytest.raises(ItemNotServed):
        await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(unserved, False)]
    with pytest.raises(ItemNotServed):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.live == {8}
    await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.tellings == [(8, None), (8, 4)]


async def test_what_another_version_wrote_keeps_no_later_state_back(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await cases.begin_telling(RIS, STUDY, 4, b'{"shape": "of old"}')
    await cases.answer_telling(RIS, STUDY, 4, "AA")
    await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.tellings == [(8, None)]


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


@pytest.mark.parametrize("still", [True, False])
async def test_what_withdraws_is_told_although_a_later_state_was_refused(still: bool, cases: SqlCaseStore) -> None:
    """6 was parked, and 8 refused meanwhile. 8 is told once more: perhaps it was there."""
    receiver = Documents()
    withdrawal, later = record_of(withdrawn(6)), record_of(findings(subject(8)))
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(REFUSED, False)] * 2
    with pytest.raises(ResourceRefused):
        await inform(later, destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(None, True), *[(REFUSED, False)] * (3 if still else 0)]
    event = said(await inform(withdrawal, destination=RIS, tell=receiver.tell, tellings=cases))
    assert (event.outcome, event.sequence) == ("stored", 6)
    assert receiver.live == (set() if still else {8})
    told = len(receiver.tellings)
    if not still:
        assert said(await inform(withdrawal, destination=RIS, tell=receiver.tell, tellings=cases)).outcome == "superseded"
        assert len(receiver.tellings) == told, "8 was answered"


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


class Killed(Exception):
    """The worker."""


ERRORS = (
    None,
    ReceiverUnavailable("fake", "receiver", "away"),
    ItemNotServed("fake", "study", "HTTP 500"),
    ResourceRefused("fake", "study", "HTTP 422"),
    Killed(),
)
#: an error, and whether what was told arrived all the same
FAULTS = st.tuples(st.sampled_from(ERRORS), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    withdraws=st.lists(st.booleans(), min_size=1, max_size=5),
    order=st.lists(st.integers(0, 4), max_size=10),
    faults=st.lists(FAULTS, max_size=12),
    seen=st.integers(0, 5),
)
async def test_any_order_with_any_faults_ends_in_the_last_state(
    withdraws: list[bool], order: list[int], faults: list[tuple[Exception | None, bool]], seen: int
) -> None:
    """The last state is live once it was answered; and nothing once it was withdrawn, whatever arrived without an answer before."""
    states = [withdrawn(4 * n) if gone else findings(subject(4 * n)) for n, gone in enumerate(withdraws, start=1)]
    records = [record_of(state, offset) for offset, state in enumerate(states)]
    receiver = Documents()
    receiver.faults = [(error, arrives or error is None) for error, arrives in faults]
    with tempfile.TemporaryDirectory() as folder:
        cases = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        for record in records[:seen]:
            await project(record, cases=cases)
        for which in (*order, *range(len(records))):
            with contextlib.suppress(RadstreamError, Killed):
                await inform(records[which % len(records)], destination=RIS, tell=receiver.tell, tellings=cases)
        receiver.faults = []
        await inform(records[-1], destination=RIS, tell=receiver.tell, tellings=cases)
        assert withdraws[-1] or 4 * len(states) in receiver.live
        # of what would not be told of it nothing is forgotten
        await inform(record_of(withdrawn(40)), destination=RIS, tell=receiver.tell, tellings=cases)
        await cases.close()
    assert receiver.live == set()
