"""Whatever order and however often the records of a case come, the end is the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.events import OrderEvent, OrderStatus
from schemas.findings import Findings
from schemas.study_events import AnalysisRequested, StudyCompleted
from tests.unit.cases import Hospital, follows, numbers, order, said, study

ORDER_A = order(placer="PA", accession="A1")
FILLED_A = order(placer="PA", filler="FA", at=1, sender="RIS")
ORDER_B = order(placer="PB", at=1)
LINKED_B = order(placer="PB", filler="FB", accession="A1", at=2, sender="RIS")
CANCEL_A = order(placer="PA", at=5, status=OrderStatus.CANCELLED)
STUDY_1 = study("1.2.3", at=3)
STUDY_1_GROWN = study("1.2.3", at=4, images=2)
STUDY_2 = study("1.2.4", at=3)
EVENTS = (ORDER_A, FILLED_A, ORDER_B, LINKED_B, CANCEL_A, STUDY_1, STUDY_1_GROWN, STUDY_2)

Event = OrderEvent | StudyCompleted


async def final(events: Sequence[Event], again: Sequence[Event]) -> dict[str, AnalysisRequested | Findings]:
    """The state last told of each study after `events`; checks on the way what must hold at every moment."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        hospital = Hospital(store)
        last: dict[str, AnalysisRequested | Findings] = {}
        by_id: dict[bytes, bytes] = {}
        for event in events:
            for out in await hospital.happens(event):
                value = said(out)
                before = last.get(value.subject.study_instance_uid)
                assert value == before or follows(value, before)
                assert by_id.setdefault(dict(out.headers)["ce_id"], out.value) == out.value
                last[value.subject.study_instance_uid] = value
        for event in again:
            for value in await hospital.answers(event):
                assert value == last[value.subject.study_instance_uid]
        await store.close()
        return last


def state(value: AnalysisRequested | Findings) -> tuple[object, ...]:
    return value.subject.revision, numbers(value), value.subject.patient, type(value)


@settings(max_examples=25)
@given(
    events=st.permutations(EVENTS).flatmap(
        lambda events: st.lists(st.sampled_from(EVENTS), max_size=6).map(lambda more: [*more, *events])
    ),
    again=st.lists(st.sampled_from(EVENTS), max_size=5),
)
def test_any_order_any_repetition(events: list[Event], again: list[Event]) -> None:
    last = asyncio.run(final(events, again))
    assert {uid: state(value) for uid, value in last.items()} == {
        "1.2.3": (STUDY_1_GROWN.revision, ["PB FB A1"], STUDY_1.patient, AnalysisRequested),
        "1.2.4": (STUDY_2.revision, ["PB FB A1"], STUDY_2.patient, AnalysisRequested),
    }


@settings(max_examples=10)
@given(events=st.permutations((ORDER_A, CANCEL_A, FILLED_A, STUDY_1, STUDY_1_GROWN)))
def test_all_orders_cancelled_in_any_order(events: list[Event]) -> None:
    (value,) = asyncio.run(final(events, EVENTS[:0])).values()
    assert isinstance(value, Findings)
    assert value.not_analysed is not None
    assert value.not_analysed.reason == "order-cancelled"
    assert (value.subject.revision, numbers(value)) == (STUDY_1_GROWN.revision, ["PA FA A1"])
