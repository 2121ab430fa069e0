"""Lanes in correlation: what is told outward, what for ourselves only, what not at all; and that nothing said is left standing."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from schemas.events import OrderStatus, Priority
from schemas.findings import Findings, NotAnalysedReason
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams.case_state import Policy
from streams.late import DEADLINE
from streams.study_settings import NewsSettings
from tests.unit.cases import JOHN, CaseEvent, Hospital, follows, gone, minutes, order, reason, said, study

ORDER = order(placer="P1", accession="A1")
LONG_AGO = minutes(0).date() - timedelta(days=400)
NEWS = NewsSettings(age_limit_days=7, bulk_ae_titles=("PRIORS",), ignored_ae_titles=("RESEARCH",))


@pytest.fixture
def policy() -> Policy:
    return Policy(news=NEWS, deadline=timedelta(minutes=10))


async def test_an_old_study_is_analysed_for_ourselves_only(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    (out,) = await hospital.happens(study(at=1, taken=LONG_AGO))
    request = said(out)
    assert (out.topic, request.subject.outward) == ("ai.requests.bulk", False)
    assert follows(request, None)
    assert await hospital.due(99) == [], "nobody waits for it"
    (again,) = await hospital.happens(ORDER)
    assert again.value == out.value


async def test_there_is_no_urgent_bulk(hospital: Hospital) -> None:
    await hospital.happens(order(placer="P1", accession="A1", priority=Priority.STAT))
    (out,) = await hospital.happens(study(at=1, sent_by="PRIORS"))
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    assert (out.topic, request.priority) == ("ai.requests.bulk", Priority.ROUTINE)


async def test_a_bulk_study_without_an_order_waits_as_others_do(hospital: Hospital) -> None:
    assert await hospital.happens(study(sent_by="PRIORS")) == []
    (out,) = await hospital.time_passes(1)
    assert out.topic == "ai.requests.bulk"
    assert await hospital.happens(study(sent_by="PRIORS")) == []


@pytest.mark.parametrize(
    ("ordered", "done", "why"),
    [
        (order(placer="P1", accession="A1", status=OrderStatus.CANCELLED), {}, NotAnalysedReason.ORDER_CANCELLED),
        (order(placer="P1", accession="A1", patients=(JOHN,)), {}, NotAnalysedReason.IDENTITY_MISMATCH),
        (ORDER, {"images": 0}, NotAnalysedReason.NO_IMAGE),
    ],
)
async def test_why_a_bulk_study_is_not_analysed_is_told_to_nobody(
    hospital: Hospital, ordered: CaseEvent, done: dict[str, int], why: NotAnalysedReason
) -> None:
    await hospital.happens(ordered)
    told = await hospital.answer(study(sent_by="PRIORS", **done))  # type: ignore[arg-type]
    assert (reason(told), told.subject.outward) == (why, False)


@pytest.mark.parametrize("ignored", [study(sent_by="RESEARCH"), study(at=1, sent_by="RESEARCH", images=0)])
async def test_of_an_ignored_study_nothing_is_told(hospital: Hospital, ignored: StudyCompleted) -> None:
    assert await hospital.happens(ignored) == []
    assert await hospital.happens(ORDER) == []
    assert await hospital.happens(ignored) == []
    assert await hospital.due(9999) == []


async def test_a_study_that_waits_and_turns_out_to_be_ignored(hospital: Hospital) -> None:
    await hospital.happens(study())
    await hospital.happens(study(at=0.5, source="ian", sent_by="RESEARCH"))
    assert await hospital.time_passes(99) == []


async def test_what_was_told_stays_news_and_is_withdrawn(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    first = await hospital.answer(study())
    assert first.subject.outward
    moved = await hospital.answer(study(at=1, images=2, sent_by="RESEARCH", taken=LONG_AGO))
    assert moved.subject.outward
    assert follows(moved, first)
    withdrawn = await hospital.answer(gone(at=2))
    assert (reason(withdrawn), withdrawn.subject.outward) == (NotAnalysedReason.NO_IMAGE, True)


async def test_a_bulk_study_that_is_gone_is_withdrawn_from_nobody(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    bulk = await hospital.answer(study(taken=LONG_AGO))
    withdrawn = await hospital.answer(gone(at=2))
    assert (reason(withdrawn), withdrawn.subject.outward) == (NotAnalysedReason.NO_IMAGE, False)
    assert follows(withdrawn, bulk)


async def test_a_bulk_study_whose_date_is_corrected_is_news(hospital: Hospital) -> None:
    await hospital.happens(ORDER)
    bulk = await hospital.answer(study(taken=LONG_AGO))
    (out,) = await hospital.happens(study(at=1, taken=minutes(0).date()))
    assert (out.topic, said(out).subject.outward) == ("ai.requests", True)
    assert follows(said(out), bulk)
    (timer,) = await hospital.due(99)
    assert timer.reason == DEADLINE


# ---------------------------------------------------------------------------------------------------------------- floods

LIMIT = 3


@pytest.fixture
def flooded(hospital: Hospital) -> Hospital:
    hospital.policy = Policy(news=NewsSettings(flood_per_hour=LIMIT, bulk_ae_titles=("PRIORS",)), order_wait=timedelta())
    return hospital


async def topic_of(hospital: Hospital, number: int, at: float = 0, **more: str) -> str:
    """Of study and accession number `number`, whose wait for an order is over at once."""
    await hospital.happens(study(f"1.2.{number}", accession=f"A{number}", at=at, **more))  # type: ignore[arg-type]
    (out,) = await hospital.time_passes(at)
    return out.topic


async def test_beyond_the_limit_of_an_hour_studies_without_an_order_are_bulk(flooded: Hospital) -> None:
    with capture_logs() as logs:
        topics = [await topic_of(flooded, number, at=number) for number in range(6)]
    assert topics == ["ai.requests"] * LIMIT + ["ai.requests.bulk"] * 3
    assert [(log["alarm"], log["study_instance_uid"]) for log in logs if "alarm" in log] == [("flood", "1.2.3")]
    assert await topic_of(flooded, 9, at=66) == "ai.requests", "the hour is over"


async def test_a_repeat_counts_the_same(flooded: Hospital) -> None:
    topics = {number: await topic_of(flooded, number, at=number) for number in range(6)}
    with capture_logs() as logs:
        for number in reversed(range(6)):
            assert await flooded.happens(study(f"1.2.{number}", accession=f"A{number}", at=number)) == []
            # another source says the same a day later
            assert await flooded.happens(study(f"1.2.{number}", accession=f"A{number}", at=number + 1440, source="qido")) == []
    assert not [log for log in logs if "alarm" in log]
    assert await flooded.time_passes(9999) == []
    assert sorted(topics.values()) == ["ai.requests"] * LIMIT + ["ai.requests.bulk"] * 3


async def test_an_order_makes_it_news(flooded: Hospital) -> None:
    for number in range(5):
        await topic_of(flooded, number)
    (out,) = await flooded.happens(order(placer="P4", accession="A4", at=1))
    assert (out.topic, said(out).subject.outward) == ("ai.requests", True)
    cancelled = await flooded.answer(order(placer="P4", accession="A4", at=2, status=OrderStatus.CANCELLED))
    assert (reason(cancelled), cancelled.subject.outward) == (NotAnalysedReason.ORDER_CANCELLED, True)


async def test_studies_with_an_order_and_those_that_are_bulk_anyway_are_no_flood(flooded: Hospital) -> None:
    for number in range(10, 16):
        await topic_of(flooded, number, sent_by="PRIORS")
    for number in range(20, 26):
        await flooded.happens(order(placer=f"P{number}", accession=f"A{number}"))
        (out,) = await flooded.happens(study(f"1.2.{number}", accession=f"A{number}"))
        assert out.topic == "ai.requests"
    assert await topic_of(flooded, 1) == "ai.requests"


# ------------------------------------------------------------------------------------- whatever comes, and however often

EVENTS: tuple[CaseEvent, ...] = (
    ORDER,
    order(placer="P1", accession="A1", at=5, status=OrderStatus.CANCELLED),
    order(placer="P1", accession="A1", at=6),
    study(at=1),
    study(at=2, taken=LONG_AGO),
    study(at=3, images=2, sent_by="PRIORS", source="ian"),
    study(at=4, sent_by="RESEARCH", source="webhook"),
    gone(at=7),
    *(study(f"1.2.{number}", accession=None, at=number / 10) for number in range(10, 14)),
)


async def walk(events: Sequence[CaseEvent | None]) -> None:
    """None: the sweeper comes. What must hold at every moment."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        policy = Policy(news=NEWS.model_copy(update={"flood_per_hour": 2}), deadline=timedelta(minutes=10))
        hospital = Hospital(store, policy)
        last: dict[str, AnalysisRequested | Findings] = {}
        by_id: dict[bytes, bytes] = {}
        for event in events:
            outputs = await hospital.time_passes(5) if event is None else await hospital.happens(event)
            for out in outputs:
                value = said(out)
                before = last.get(value.subject.study_instance_uid)
                assert value == before or follows(value, before)
                assert by_id.setdefault(dict(out.headers)["ce_id"], out.value) == out.value
                assert value.subject.outward or before is None or not before.subject.outward, "left standing where it was told"
                assert value.subject.outward is (out.topic != "ai.requests.bulk") or isinstance(value, Findings)
                last[value.subject.study_instance_uid] = value
        for event in [each for each in events if each is not None]:
            for value in await hospital.answers(event):
                assert value == last[value.subject.study_instance_uid]
        await store.close()


@settings(max_examples=25)
@given(st.lists(st.sampled_from(EVENTS) | st.none(), max_size=20))
def test_any_order_any_repetition(events: list[CaseEvent | None]) -> None:
    asyncio.run(walk(events))
