"""A plan: exact places, kept as JSON, read again in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.history import Span
from schemas.ports import Place, Record
from streams.replay.answered import answered_at
from streams.replay.plan import Part, Plan, compressed, expanded
from streams.replay.selection import Selection
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory

START = datetime(2026, 11, 24, tzinfo=UTC)
TIME = Selection(since=START)

places = st.builds(Place, st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 40))


def history_of(*partitions: Sequence[int], topic: str = "hl7.v2.raw") -> FakeHistory:
    """One topic whose records have these times, in seconds."""
    log = FakeEventLog()
    log.create(topic, len(partitions))
    for number, seconds in enumerate(partitions):
        log.topics[topic][number] = [
            Record(Place(topic, number, offset), None, b"", (), START + timedelta(seconds=at)) for offset, at in enumerate(seconds)
        ]
    return FakeHistory(log)


def plan_of(*spans: Span) -> Plan:
    """Of one topic."""
    part = Part(topic=spans[0].topic, spans=spans, records=sum(map(len, spans)), bytes=0)
    return Plan(selection=TIME, parts=(part,))


async def read(plan: Plan, history: FakeHistory, done: dict[tuple[str, int], int] | None = None) -> list[Record]:
    async with aclosing(plan.inputs(history, done)) as records:
        return [record async for record in records]


@given(st.lists(places))
def test_spans_hold_exactly_these_places(some: list[Place]) -> None:
    spans = compressed(some)
    assert list(expanded(spans)) == sorted(set(some), key=lambda one: (one.topic, one.partition, one.offset))
    for one, other in pairwise(spans):
        assert (one.topic, one.partition, one.end) < (other.topic, other.partition, other.first)


@given(st.lists(places, min_size=1))
def test_a_plan_as_json_is_the_same_plan(some: list[Place]) -> None:
    spans = compressed(some)
    parts = tuple(
        Part(topic=topic, spans=tuple(one for one in spans if one.topic == topic), records=1, bytes=2, earliest=START, latest=START)
        for topic in sorted({one.topic for one in spans})
    )
    plan = Plan(selection=Selection(patients=("4711^HOSPITAL",)), parts=parts, gone=(Span("c", 0, 0, 7),), seconds_per_analysis=1.5)
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert again.sha256 == plan.sha256
    assert set(again.spans) == set(spans)


seconds = st.lists(st.integers(0, 20), max_size=12)


@given(seconds, seconds, seconds, st.data())
async def test_the_order_of_time(one: list[int], two: list[int], three: list[int], data: st.DataObject) -> None:
    partitions = one, two, three
    spans = [Span("hl7.v2.raw", n, 0, len(times)) for n, times in enumerate(partitions) if times]
    if not spans:
        return
    history, plan = history_of(*partitions), plan_of(*spans)
    records = await read(plan, history)
    left = [list(times) for times in partitions]
    for record in records:
        partition, at = record.place.partition, (record.timestamp - START).seconds
        assert (at, partition) == min((times[0], n) for n, times in enumerate(left) if times)
        assert record.place.offset == len(partitions[partition]) - len(left[partition])
        left[partition].pop(0)
    assert not any(left)
    stopped = data.draw(st.integers(0, len(records)))
    done = {("hl7.v2.raw", record.place.partition): record.place.offset + 1 for record in records[:stopped]}
    assert await read(plan, history, done) == records[stopped:]


async def test_where_nothing_goes_back_in_time_the_whole_does_not_either() -> None:
    history = history_of([0, 2, 4, 6], [1, 3, 5, 7])
    records = await read(plan_of(Span("hl7.v2.raw", 0, 0, 4), Span("hl7.v2.raw", 1, 1, 4)), history)
    assert [(record.timestamp - START).seconds for record in records] == [0, 2, 3, 4, 5, 6, 7]


async def test_only_what_was_selected_is_read_near_or_far() -> None:
    history = history_of(list(range(5_000)))
    spans = (*(Span("hl7.v2.raw", 0, first, first + 1) for first in (0, 2, 3, 9)), Span("hl7.v2.raw", 0, 4_500, 4_502))
    assert [one.place.offset for one in await read(plan_of(*spans), history)] == [0, 2, 3, 9, 4_500, 4_501]


def test_parts_are_in_order() -> None:
    for spans in ([Span("a", 0, 5, 6), Span("a", 0, 0, 1)], [Span("a", 0, 0, 5), Span("a", 0, 4, 6)], [Span("b", 0, 0, 1)]):
        with pytest.raises(ValidationError):
            Part(topic="a", spans=tuple(spans), records=1, bytes=1)


def test_answers_are_looked_for_since_its_studies_and_not_since_a_recall_of_long_ago() -> None:
    recalls = Part(topic="radstream.models", spans=(Span("radstream.models", 0, 0, 1),), records=1, bytes=1, earliest=START)
    study = Part(
        topic="imaging.studies", spans=(Span("imaging.studies", 0, 0, 1),), records=1, bytes=1, earliest=START + timedelta(days=99)
    )
    plan = Plan(selection=Selection(accession_numbers=("A1",)), parts=(study, recalls))
    assert (plan.earliest, plan.begins) == (START, study.earliest)
    assert Plan(selection=plan.selection, parts=(recalls,)).begins is None


async def test_answers_to_other_studies_are_not_kept() -> None:
    log = FakeEventLog()
    log.create("ai.results", 1)
    log.topics["ai.results"][0] = [
        Record(Place("ai.results", 0, offset), key, b"", (("ce_id", b"%d" % offset),), START + timedelta(seconds=offset))
        for offset, key in enumerate((b"1.2.3", b"1.2.4", None, b"1.2.4"))
    ]
    found = await answered_at(FakeHistory(log), [Span("ai.results", 0, 0, 4)], ["1.2.4"])
    assert found == {str(second): START + timedelta(seconds=second) for second in (1, 3)}
