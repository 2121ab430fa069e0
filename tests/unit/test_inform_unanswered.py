"""What may have arrived without an answer, or was refused: nothing of it is forgotten, and it keeps nothing back."""

from __future__ import annotations

import pytest
import structlog

from connectors.case_store import SqlCaseStore
from schemas.errors import Conflict, InvalidResource, ItemNotServed, RadstreamError, ReceiverUnavailable, ResourceRefused
from streams.steps.inform import inform
from tests.contract.example_findings import STUDY, findings, subject
from tests.unit.informing import RIS, Documents, record_of, said, withdrawn

REFUSED = ResourceRefused("fake", "study", "HTTP 422")
UNWRITABLE = InvalidResource("fake", "study", "a number cannot be written")


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


async def test_what_is_not_served_is_tried_again_though_it_is_refused_as_if_nothing_stood_there(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ItemNotServed("fake", "study", "AE"), False), (REFUSED, False)]
    with pytest.raises(ItemNotServed):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)


async def test_who_holds_a_later_state_says_so_once_of_all(cases: SqlCaseStore) -> None:
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(ReceiverUnavailable("fake", "receiver", "the answer was lost"), True)]
    with pytest.raises(ReceiverUnavailable):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.later = {(12, 4)}
    with pytest.raises(Conflict, match="later state"):
        await inform(record_of(findings(subject(12))), destination=RIS, tell=receiver.tell, tellings=cases)
    assert receiver.tellings[-2:] == [(12, 4), (12, 8)]
