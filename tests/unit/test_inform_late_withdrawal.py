"""A withdrawal that is told after a later state was, which had no answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from connectors.case_store import SqlCaseStore
from schemas.errors import ItemNotServed, ResourceRefused
from schemas.identifiers import StudyInstanceUID
from schemas.tellings import Telling
from streams.steps.inform import inform
from tests.contract.example_findings import STUDY, findings, subject
from tests.unit.informing import RIS, Documents, record_of, said, withdrawn

REFUSED = ResourceRefused("fake", "study", "HTTP 422")
WITHDRAWAL = record_of(withdrawn(6))


@pytest.fixture
async def receiver(cases: SqlCaseStore) -> Documents:
    """It holds 4; 6 was parked, and 8 refused meanwhile."""
    receiver = Documents()
    await inform(record_of(findings(subject(4))), destination=RIS, tell=receiver.tell, tellings=cases)
    receiver.faults = [(REFUSED, False)] * 2
    with pytest.raises(ResourceRefused):
        await inform(record_of(findings(subject(8))), destination=RIS, tell=receiver.tell, tellings=cases)
    return receiver


@pytest.mark.parametrize("still", [True, False])
async def test_what_withdraws_is_told_although_a_later_state_was_refused(
    still: bool, receiver: Documents, cases: SqlCaseStore
) -> None:
    """8 is told once more: perhaps it was there."""
    receiver.faults = [(None, True), *[(REFUSED, False)] * (3 if still else 0)]
    event = said(await inform(WITHDRAWAL, destination=RIS, tell=receiver.tell, tellings=cases))
    assert (event.outcome, event.sequence) == ("stored", 6)
    assert receiver.live == (set() if still else {8})
    told = len(receiver.tellings)
    if not still:
        assert said(await inform(WITHDRAWAL, destination=RIS, tell=receiver.tell, tellings=cases)).outcome == "superseded"
        assert len(receiver.tellings) == told, "8 was answered"


async def test_what_the_later_state_meets_is_the_business_of_its_own_record(receiver: Documents, cases: SqlCaseStore) -> None:
    receiver.faults = [(None, True), (ItemNotServed("fake", "study", "AE"), False)]
    assert said(await inform(WITHDRAWAL, destination=RIS, tell=receiver.tell, tellings=cases)).outcome == "stored"


async def test_a_later_state_that_was_answered_meanwhile_stands(
    receiver: Documents, cases: SqlCaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_earlier = cases.tell_earlier

    async def answered_before(destination: str, study: StudyInstanceUID, findings: bytes) -> Telling:
        await cases.answer_telling(destination, study, 8, "AA 8")
        return await tell_earlier(destination, study, findings)

    monkeypatch.setattr(cases, "tell_earlier", answered_before)
    event = said(await inform(WITHDRAWAL, destination=RIS, tell=receiver.tell, tellings=cases))
    assert (event.outcome, event.acknowledgement, receiver.live) == ("superseded", "AA 8", {4})


@pytest.mark.parametrize(
    ("later", "outcome", "told"),
    [({(6, 4)}, "superseded", [(6, 4)]), ({(8, 4), (8, 6)}, "stored", [(6, 4), (8, 4), (8, 6)])],
)
async def test_a_receiver_that_holds_a_later_one_has_answered_nothing_of_ours(
    later: set[tuple[int, int | None]],
    outcome: str,
    told: Sequence[tuple[int, int | None]],
    receiver: Documents,
    cases: SqlCaseStore,
) -> None:
    receiver.later, before = later, len(receiver.tellings)
    assert said(await inform(WITHDRAWAL, destination=RIS, tell=receiver.tell, tellings=cases)).outcome == outcome
    assert receiver.tellings[before:] == told
    assert not (await cases.begin_telling(RIS, STUDY, 8, b"")).answered
