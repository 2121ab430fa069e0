"""An archive with a gap: what is before and behind it is replayed as ever, and what it took is told."""

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from connectors.case_store import SqlCaseStore
from schemas.errors import RecordsRemoved
from schemas.events import FINDINGS_TYPE
from schemas.history import History, Span
from schemas.ports import Outgoing, Place
from streams import topics
from streams.existing import Existing
from streams.replay.answered import answered_at, answers_gone
from streams.replay.dry_run import show
from streams.replay.estimating import seconds_per_analysis
from streams.replay.plan import Plan, compressed, expanded, records_of
from streams.replay.planning import planned
from streams.replay.selection import Selection
from tests.contract.fake_event_log import START, FakeEventLog
from tests.unit.gapped import gapped
from tests.unit.past import ALL_TOPICS, Past, order_message

RAW = topics.HL7_RAW.name
#: of partition 0, which has forty records
GAP = Span(RAW, 0, 10, 20)


async def forty(topic: str = RAW, gap: Span = GAP) -> History:
    log = FakeEventLog(*ALL_TOPICS)
    log.create(topic, partitions=1)
    cause = (("ce_type", FINDINGS_TYPE.encode()), ("ce_id", b"an answer"), ("cause", b"ai.requests/0/0"))
    await log.append([Outgoing(topic, b"1.2.3", b"{}", cause) for _ in range(40)])
    return Existing(await gapped(log, gap))


def places(spans: tuple[Span, ...]) -> list[int]:
    return [place.offset for place in expanded(spans)]


async def read(plan: Plan, history: History) -> list[int]:
    async with aclosing(plan.inputs(history)) as records:
        return [record.place.offset async for record in records]


@given(st.sets(st.sampled_from([*range(10), *range(20, 40)]), min_size=1))
async def test_records_on_both_sides_of_it_are_read(offsets: set[int]) -> None:
    history = await forty()
    spans = compressed(Place(RAW, 0, offset) for offset in offsets)
    assert [record.place.offset async for record in records_of(history, spans)] == sorted(offsets)


async def test_what_went_after_the_plan_was_made_is_still_an_error() -> None:
    async with aclosing(records_of(await forty(), [Span(RAW, 0, 5, 6), Span(RAW, 0, 19, 21)])) as records:
        assert (await anext(records)).place.offset == 5
        with pytest.raises(RecordsRemoved):
            await anext(records)


async def test_places_beside_it_are_planned_and_read_and_places_in_it_are_told() -> None:
    history = await forty()
    plan = await planned(Selection(places=(Span(RAW, 0, 5, 6), Span(RAW, 0, 25, 26))), history)
    assert (places(plan.spans), plan.gone, await read(plan, history)) == ([5, 25], (), [5, 25])
    for asked, said in ((Span(RAW, 0, 5, 12), "hl7.v2.raw/0/5-10 is left"), (Span(RAW, 0, 12, 13), "none of these is left")):
        with pytest.raises(RecordsRemoved, match=said):
            await planned(Selection(places=(asked,)), history)


async def test_of_a_stretch_of_time_it_is_told() -> None:
    history = await forty()
    plan = await planned(Selection(since=START + timedelta(seconds=5), start_at="normalise"), history)
    expected = [*range(5, 10), *range(20, 40)]
    assert (places(plan.spans), plan.gone, await read(plan, history)) == (expected, (GAP,), expected)
    plan = await planned(Selection(since=START + timedelta(seconds=20), start_at="normalise"), history)
    assert (places(plan.spans), plan.gone) == ([*range(20, 40)], ())


async def test_a_message_of_a_case_that_is_in_it_is_told(tmp_path: Path) -> None:
    log, cases = FakeEventLog(*ALL_TOPICS), SqlCaseStore(f"sqlite:///{tmp_path / 'cases.db'}")
    past = Past(log, cases, None, lambda place: log.topics[place.topic][place.partition][place.offset].timestamp)
    first = await past.message(order_message("P1", "A1"))
    lost = await past.message(order_message("P1", "A1", control="C2"))
    last = await past.message(order_message("P1", "A1", control="C3"))
    await cases.close()
    history = await gapped(log, Span(RAW, lost.partition, lost.offset, lost.offset + 1))
    plan = await planned(Selection(accession_numbers=("A1",)), history)
    assert (list(expanded(plan.spans)), list(expanded(plan.gone))) == ([first, last], [lost])


async def test_what_the_projection_has_not_seen_may_be_of_the_case() -> None:
    gap = Span(topics.STUDIES.name, 0, 10, 20)
    plan = await planned(Selection(accession_numbers=("A1",)), await forty(gap.topic, gap))
    assert plan.gone == (gap,)


async def test_a_replay_begins_without_the_answers_that_are_in_it_and_its_plan_tells_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gap = Span(topics.RESULTS.name, 0, 10, 20)
    history = await forty(gap.topic, gap)
    assert await answered_at(history, await history.spans(gap.topic), ["1.2.3"]) == {"an answer": START}
    assert await answers_gone(history, START) == [gap]
    assert await answers_gone(history, START + timedelta(seconds=20)) == await answers_gone(history, None) == []
    plan = await planned(Selection(places=(Span(RAW, 0, 5, 6),)), await forty())
    plan = plan.model_copy(update={"answers_gone": (gap,)})
    show(plan, ["radstream"], Console(width=200), rate=None, analyses=True, as_json=False)
    assert "gone: ai.results/0/10-20, answers of then" in capsys.readouterr().out


async def test_how_long_it_takes_is_told_beside_one() -> None:
    gap = Span(topics.RESULTS.name, 0, 10, 20)
    assert await seconds_per_analysis(await forty(gap.topic, gap)) == 1
