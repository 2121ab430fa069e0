"""What was told to a receiver of ORU messages and is withdrawn does not come back, and does not stand elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from schemas.errors import ItemNotServed, ReceiverUnavailable, ResourceRefused
from schemas.findings import Findings
from schemas.renderings.hl7oru import oru_messages
from tests.contract.example_findings import finding, findings, order, subject
from tests.contract.oru_ris import Ris, accept, acknowledgement, control_id
from tests.unit.oru_receivers import (
    FAULTS,
    RECALLED,
    UIDS,
    at_patient,
    coded,
    of_patient,
    of_studies,
    receiving,
    taken_and_closed,
    told,
)


async def test_what_a_study_said_before_is_not_sent_again_behind_what_it_says_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another study is refused while the recall waits: what was taken last, and would be sent once more, is what is recalled."""
    asked, go_on, rendered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def rendering(now: Findings, *others: Any, **more: Any) -> tuple[bytes, ...]:
        if now is RECALLED:
            loop.call_soon_threadsafe(rendered.set)
        return oru_messages(now, *others, **more)

    monkeypatch.setattr("connectors.reporting.hl7oru.oru_messages", rendering)

    refused = []

    async def slowly_refuse(ris: Ris, data: bytes) -> bytes | None:
        refused.append(data)
        if len(refused) == 2:  # under another MSH-10, before anything else is asked
            asked.set()
            await go_on.wait()
        return acknowledgement("AR", control_id(data))

    poison = findings(subject(4, study=UIDS[0]))
    async with receiving() as (server, receiver):
        await receiver.tell(findings(subject(4), finding(1)), None)
        server.answer = of_studies(UIDS[0], but=slowly_refuse)
        other = asyncio.create_task(receiver.tell(poison, None))
        await asked.wait()
        recall = asyncio.create_task(receiver.tell(RECALLED, findings(subject(4), finding(1))))
        await rendered.wait()
        await asyncio.wait([recall], timeout=0.3)  # it waits for its turn, by whatever means
        go_on.set()
        with pytest.raises(ResourceRefused):
            await other
        await recall
    (report,) = server.ris.reports.values()
    assert not report.results()


async def test_what_a_study_said_before_is_not_sent_again_when_an_answer_is_lost() -> None:
    async with receiving() as (server, receiver):
        await receiver.tell(findings(subject(4), finding(1)), None)
        server.answer = taken_and_closed
        outcomes = []
        for _ in range(4):
            with pytest.raises((ReceiverUnavailable, ItemNotServed)) as raised:
                await receiver.tell(RECALLED, findings(subject(4), finding(1)))
            outcomes.append(raised.type)
        server.answer = of_studies(UIDS[0], but=coded("AR"))
        with pytest.raises(ResourceRefused):
            await receiver.tell(findings(subject(4, study=UIDS[0])), None)
    (report,) = server.ris.reports.values()
    assert not report.results()
    assert outcomes == [ReceiverUnavailable] * 2 + [ItemNotServed] * 2


async def test_what_was_taken_long_ago_is_not_sent_again() -> None:
    """Another process may have told a later state of that study."""
    async with receiving(fresh_s=0) as (server, receiver):
        await receiver.tell(findings(), None)
        server.answer = of_studies(UIDS[0], but=coded("AR"))
        with pytest.raises(ResourceRefused):
            await receiver.tell(findings(subject(4, study=UIDS[0])), None)
    assert len(server.ris.messages) == 1


async def test_after_a_merge_the_patient_that_remains_is_told_and_a_person_hears_of_the_other() -> None:
    """A receiver that files by OBR-3 alone, and knows the merged patient no more."""
    before = findings(subject(4), finding(1))
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4711", but=coded("AR"))
        with capture_logs() as lines:
            await receiver.tell(at_patient(RECALLED), before)
    (report,) = server.ris.reports.values()
    assert report.patient == "MRN-4712"
    assert not report.results()
    assert [(line["log_level"], line["alarm"]) for line in lines] == [("error", True)]
    assert "MRN" not in str(lines)


async def test_an_order_that_the_receiver_knows_no_more_leaves_nothing_standing_under_the_other() -> None:
    before, recalled = (
        state.model_copy(update={"subject": state.subject.model_copy(update={"orders": orders})})
        for state, orders in ((findings(subject(4), finding(1)), (order(1), order(2))), (RECALLED, (order(1),)))
    )

    async def unknown(ris: Ris, data: bytes) -> bytes | None:
        return await (coded("AR") if b"|P2^HIS|" in data else accept)(ris, data)

    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = unknown
        await receiver.tell(recalled, before)
    standing = {str(one.obr[2]).split("^")[0]: bool(one.results()) for one in server.ris.reports.values()}
    assert standing == {"P1": False, "P2": True}


async def test_a_patient_at_whom_nothing_can_be_withdrawn_yet_is_tried_again_and_the_other_is_told() -> None:
    before, now = findings(subject(4), finding(1)), at_patient(RECALLED)
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4711", but=coded("AE"))
        with pytest.raises(ItemNotServed):
            await told(receiver, now, before)
        assert [report.patient for report in server.ris.reports.values()] == ["MRN-4712"]
        server.answer = accept
        await receiver.tell(now, before)
    assert [one.patient for one in server.ris.reports.values()] == ["MRN-4712"]


@pytest.mark.parametrize("fault", ["AE", "closes"])
async def test_the_second_message_of_a_telling_that_always_fails_is_put_aside_too(fault: str) -> None:
    """That the first was taken says nothing of it."""
    before = findings(subject(4), finding(1))
    async with receiving() as (server, receiver):
        await receiver.tell(before, None)
        server.answer = of_patient("MRN-4712", but=FAULTS[fault])
        for _ in range(2):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(at_patient(RECALLED), before)
        with pytest.raises(ItemNotServed):
            await receiver.tell(at_patient(RECALLED), before)
