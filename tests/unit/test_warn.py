"""A discrepancy calls people: once in the log, and at the receiver of the settings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import structlog

from connectors.case_store import SqlCaseStore
from schemas.discrepancies import DiscrepancyAcknowledged, DiscrepancyEscalated, DiscrepancyOpened, DiscrepancyWithdrawn
from schemas.errors import MalformedMessage, ReceiverUnavailable
from schemas.ports import Acknowledgement, Place, Record
from streams import topics
from streams.steps.warn import Warn
from tests.unit.discrepancies import AT, event, record

OPENED, ESCALATED = event(DiscrepancyOpened), event(DiscrepancyEscalated)
ACT: dict[str, Any] = {"acknowledged_by": "Dr A", "reason": "seen"}
ACKNOWLEDGED = event(DiscrepancyAcknowledged, **ACT)
ALL = (OPENED, ESCALATED, ACKNOWLEDGED, event(DiscrepancyWithdrawn))


class Receiver:
    """Keeps what it is told; `away` is one that is down."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, UUID, str]] = []
        self.away = False

    async def tell_event(self, body: bytes, id: UUID, type: str) -> Acknowledgement:
        if self.away:
            raise ReceiverUnavailable("webhook", f"event {id}", "does not answer")
        self.told.append((body, id, type))
        return Acknowledgement("well")


NAME = "pager"


async def test_the_receiver_is_told_what_was_escalated_and_what_became_of_it(cases: SqlCaseStore) -> None:
    """Each under its own id. Of what was never escalated it is told nothing; a restart in between changes nothing."""
    receiver = Receiver()
    never = (event(DiscrepancyOpened, 2), event(DiscrepancyWithdrawn, 2), event(DiscrepancyAcknowledged, 3, **ACT))
    for offset, one in enumerate((*never, *ALL)):
        assert await Warn(receiver, NAME, cases)(record(one, offset)) == []
    assert receiver.told == [(one.model_dump_json().encode(), one.id, one.TYPE) for one in ALL[1:]]


async def test_what_perhaps_arrived_is_told_of_too(cases: SqlCaseStore) -> None:
    receiver = Receiver()
    receiver.away = True
    with pytest.raises(ReceiverUnavailable):
        await Warn(receiver, NAME, cases)(record(ESCALATED))
    receiver.away = False
    await Warn(receiver, NAME, cases)(record(ACKNOWLEDGED, 1))
    await Warn(receiver, "another", cases)(record(ACKNOWLEDGED, 1))
    assert [id for _, id, _ in receiver.told] == [ACKNOWLEDGED.id]


async def test_the_log_is_told_without_a_receiver_too(cases: SqlCaseStore) -> None:
    warn = Warn(None, NAME, cases)
    with structlog.testing.capture_logs() as logs:
        for offset, one in enumerate(ALL):
            await warn(record(one, offset))
    assert [(line["log_level"], line["alarm"], line["escalated"]) for line in logs] == [
        ("error", "discrepancy", False),
        ("error", "discrepancy", True),
    ]
    assert {line["study_instance_uid"] for line in logs} == {OPENED.study_instance_uid}
    assert {line["accession_number"] for line in logs} == {"A1^RIS"}


async def test_while_the_receiver_is_down_there_is_one_alarm_and_nothing_is_lost(cases: SqlCaseStore) -> None:
    receiver = Receiver()
    receiver.away = True
    warn = Warn(receiver, NAME, cases)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(ReceiverUnavailable):
                await warn(record(ESCALATED))
        receiver.away = False
        for offset in (0, 0, 7):  # 7: it was parked, and was written again
            await warn(record(ESCALATED, offset))
    assert len(logs) == 1
    assert len({id for _, id, _ in receiver.told}) == 1, "told again, it is the same message"


@pytest.mark.parametrize("value", [b"{}", b'{"accession_number": "Secret"}'])
@pytest.mark.parametrize("kind", [OPENED.TYPE, "something.else", None])
async def test_what_is_no_event_of_a_discrepancy(value: bytes, kind: str | None, cases: SqlCaseStore) -> None:
    headers = () if kind is None else (("ce_type", kind.encode()),)
    with pytest.raises(MalformedMessage) as caught:
        await Warn(None, NAME, cases)(Record(Place(topics.DISCREPANCIES.name, 0, 0), b"", value, headers, AT))
    assert "Secret" not in str(caught.value)
