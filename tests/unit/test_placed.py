"""Records by their places: few reads, each record once, and of those that are not there why."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from schemas.errors import BrokerUnavailable, InvalidResource
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams.placed import records_at
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


class History(FakeHistory):
    """`read`: what was asked for. `broken`: a place whose archived segment is not what it was."""

    def __init__(self, log: FakeEventLog) -> None:
        super().__init__(log)
        self.read: list[Span] = []
        self.broken: int | None = None

    async def records(self, span: Span) -> AsyncIterator[Record]:
        self.read.append(span)
        async for record in super().records(span):
            if record.place.offset == self.broken:
                raise InvalidResource("history", str(span), "not what it was")
            yield record


@pytest.fixture
async def log() -> FakeEventLog:
    log = FakeEventLog("ai.results")
    await log.append([Outgoing("ai.results", b"one key", b"%d" % number) for number in range(400)])
    return log


def held(log: FakeEventLog, *offsets: int) -> list[Place]:
    partition = log.records("ai.results")[0].place.partition
    return [Place("ai.results", partition, offset) for offset in offsets]


async def test_those_near_each_other_are_read_in_one_go(log: FakeEventLog) -> None:
    history, places = History(log), held(log, 3, 5, 399)
    records, gone = await records_at(history, [*places, *places])
    assert (sorted(place.offset for place in records), gone) == ([3, 5, 399], {})
    assert all(record.place == place and record.value == b"%d" % place.offset for place, record in records.items())
    assert sorted((span.first, span.end) for span in history.read) == [(3, 6), (399, 400)]


async def test_what_is_gone_takes_nothing_with_it(log: FakeEventLog) -> None:
    history, places = History(log), held(log, 3, 5, 7, 9, 4000)
    history.remove_before("ai.results", places[0].partition, 5)
    history.broken = 7
    other = Place("sandbox.gone.ai.results", 0, 0)
    records, gone = await records_at(history, [*places, other])
    assert sorted(place.offset for place in records) == [5, 9]
    assert {place.offset: why for place, why in gone.items() if place != other} == {
        3: "removed (retention)",
        7: "its archived segment is not what it was: radstream audit verify",
        4000: "removed (retention)",
    }
    assert gone[other] == "removed (its topic is not there)"


async def test_a_broker_that_is_away_is_no_record_that_is_gone(log: FakeEventLog) -> None:
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await records_at(History(log), held(log, 1))
    assert await records_at(History(log), []) == ({}, {})
