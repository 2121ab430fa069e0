"""What receivers end with, through `report` and `deliver`: the answer, whenever it comes."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.events import OrderStatus
from schemas.findings import Findings, NotAnalysed, NotAnalysedReason
from streams.case_state import Policy
from tests.unit.answers import answer_to, late_of, requested, result
from tests.unit.cases import Hospital, order, said, study
from tests.unit.receiver import Receiver

CANCELLED = order(placer="P1", accession="A1", at=2, status=OrderStatus.CANCELLED)


@pytest.fixture
def policy() -> Policy:
    return Policy(deadline=timedelta(minutes=10))


async def test_receivers_are_told_that_it_is_late(hospital: Hospital) -> None:
    await requested(hospital)
    receiver = Receiver(hospital)
    await receiver.hears(await late_of(hospital))
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)
    assert "no answer came within the time limit" in str(receiver.report["conclusion"])


@pytest.mark.parametrize("order_of_arrival", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1, 1)])
async def test_receivers_end_with_the_answer(hospital: Hospital, order_of_arrival: tuple[int, ...]) -> None:
    request = await requested(hospital)
    both = (await late_of(hospital), result(answer_to(request)))
    receiver = Receiver(hospital)
    await receiver.hears(*(both[which] for which in order_of_arrival))
    assert receiver.report["status"] == "partial"
    assert receiver.live == 3, "root and two findings"


async def test_the_answer_of_before_gives_way_to_late_and_late_to_the_next(hospital: Hospital) -> None:
    first = await requested(hospital)
    receiver = Receiver(hospital)
    await receiver.hears(result(answer_to(first)))
    (second,) = await hospital.happens(study(at=20, images=2))
    late = await late_of(hospital)
    await receiver.hears(late)
    assert (receiver.report["status"], receiver.live) == ("cancelled", 0)
    await receiver.hears(result(answer_to(second)), late)
    assert (receiver.report["status"], receiver.live) == ("partial", 3)


@settings(max_examples=30)
@given(arrivals=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_receivers_end_with_the_latest_word_they_were_sent(arrivals: list[int]) -> None:
    """Two requests, each with its answer and the word that it is late, and a withdrawal: in any order, however often."""

    async def receive() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
            hospital = Hospital(store, Policy(deadline=timedelta(minutes=10)))
            words = []
            first = await requested(hospital)
            words += [await late_of(hospital), result(answer_to(first))]
            (second,) = await hospital.happens(study(at=20, images=2))
            words += [await late_of(hospital), result(answer_to(second))]
            words += await hospital.happens(CANCELLED)
            sequences = [said(word).subject.sequence for word in words]
            assert sequences == sorted(set(sequences))
            receiver = Receiver(hospital)
            await receiver.hears(*(words[which] for which in arrivals))
            answered = max(arrivals) in (1, 3)
            assert (receiver.report["status"], receiver.live) == (("partial", 3) if answered else ("cancelled", 0))
            await store.close()

    asyncio.run(receive())


async def test_an_answer_without_findings_wins_too(hospital: Hospital) -> None:
    request = await requested(hospital)
    late = await late_of(hospital)
    refusal = NotAnalysed(reason=NotAnalysedReason.WRONG_VIEW, explanation="lateral")
    refused = Findings(analysis_id=answer_to(request).analysis_id, subject=said(request).subject, not_analysed=refusal)
    receiver = Receiver(hospital)
    await receiver.hears(result(refused), late)
    assert "view" in str(receiver.report["conclusion"])
