"""A receiver of ORU messages that refuses what it has: a repetition is known by its MSH-10."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from schemas.errors import ItemNotServed, ReceiverUnavailable
from tests.contract.example_findings import finding, findings, subject
from tests.contract.oru_ris import Ris
from tests.unit.oru_receivers import (
    FAULTS,
    RECALLED,
    UIDS,
    at_patient,
    of_studies,
    receiving,
    refusing_repetitions,
    taken_and_closed,
)


async def test_a_receiver_that_refuses_repetitions_and_whose_answer_was_lost() -> None:
    async with receiving(taken_and_closed) as (server, receiver):
        with pytest.raises(ReceiverUnavailable):
            await receiver.tell(findings(), None)
        server.answer = refusing_repetitions("AR")
        await receiver.tell(findings(), None)
        await receiver.tell(findings(), None)
    assert len(server.ris.reports) == 1


async def test_a_receiver_that_refuses_repetitions_is_not_taken_for_one_that_takes_nothing() -> None:
    poison, refuse = of_studies(UIDS[0], but=FAULTS["closes"]), refusing_repetitions("AR")

    async def answer(ris: Ris, data: bytes) -> bytes | None:
        return None if await poison(Ris(), data) is None else await refuse(ris, data)

    async with receiving(answer) as (_, receiver):
        await receiver.tell(findings(subject(4, study=UIDS[1])), None)
        for _ in range(2):
            with pytest.raises(ReceiverUnavailable):
                await receiver.tell(findings(subject(4, study=UIDS[0])), None)
        for _ in range(2):
            with pytest.raises(ItemNotServed):
                await receiver.tell(findings(subject(4, study=UIDS[0])), None)


@pytest.mark.parametrize("code", ["AR", "AE"])
async def test_a_refused_repetition_is_no_refusal(code: str) -> None:
    """Of either message of a telling, whether or not the answer to the first time came."""
    before = findings(subject(4), finding(1))
    async with receiving(taken_and_closed) as (server, receiver):
        with pytest.raises(ReceiverUnavailable):
            await receiver.tell(before, None)
        server.answer = refusing_repetitions(code)
        with capture_logs() as lines:
            for _ in range(3):
                await receiver.tell(before, None)
            references = {(await receiver.tell(at_patient(RECALLED), before)).reference for _ in range(4)}
    assert len(references) == 1
    assert not lines
