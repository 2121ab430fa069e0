"""Records before and behind a gap are read as ever, and the gap is told."""

from __future__ import annotations

from connectors.objects import in_memory
from schemas.history import History, Span
from schemas.ports import Record
from streams.across import across_gaps, gaps_of
from streams.existing import Existing
from streams.segments.history import ArchivedHistory
from tests.contract.archived_log import TOPIC, archive, ten
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


async def read(history: History, span: Span) -> tuple[list[int], list[Span]]:
    told: list[Span] = []
    return [record.place.offset async for record in across_gaps(history, span, told.append)], told


async def gapped() -> tuple[ArchivedHistory, list[Record], int]:
    """0-2 and 5-6 are archived, 8 and 9 are on the log."""
    log, objects = FakeEventLog(TOPIC), in_memory()
    records, live = await ten(log), FakeHistory(log)
    partition = records[0].place.partition
    await archive(objects, records[:3])
    await archive(objects, records[5:7])
    live.remove_before(TOPIC, partition, 8)
    return ArchivedHistory(objects, live, [TOPIC]), records, partition


async def test_what_is_before_and_behind_a_gap_is_given_and_the_gap_is_told() -> None:
    standing, _, partition = await gapped()
    for history in (standing, Existing(standing)):
        offsets, told = await read(history, Span(TOPIC, partition, 0, 10))
        assert offsets == [0, 1, 2, 5, 6, 8, 9]
        assert told == [Span(TOPIC, partition, 3, 5), Span(TOPIC, partition, 7, 8)]
        assert await read(history, Span(TOPIC, partition, 4, 6)) == ([5], [Span(TOPIC, partition, 4, 5)])
        assert await read(history, Span(TOPIC, partition, 5, 7)) == ([5, 6], [])
        assert await read(history, Span(TOPIC, partition, 3, 4)) == ([], [Span(TOPIC, partition, 3, 4)])


async def test_a_gap_is_told_before_what_is_behind_it() -> None:
    history, _, partition = await gapped()
    told: list[Span] = []
    async for record in across_gaps(history, Span(TOPIC, partition, 0, 10), told.append):
        assert len(told) == sum(record.place.offset > gap for gap in (3, 7))


async def test_a_log_alone_has_no_gaps() -> None:
    log = FakeEventLog(TOPIC)
    records = await ten(log)
    span = Span(TOPIC, records[0].place.partition, 0, 10)
    assert await gaps_of(FakeHistory(log), span) == ()
    assert await read(Existing(FakeHistory(log)), span) == (list(range(10)), [])
    assert await read(FakeHistory(log), Span(TOPIC, span.partition, 4, 4)) == ([], [])
