"""Records by their places: few reads, each record once, and of those that are not there why."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from schemas.errors import BrokerUnavailable, InvalidResource
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams.placed import Missing, each_at, records_at
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory


class History(FakeHistory):
    """`read`: what was asked for. `broken`: a place that cannot be read, on the log or in the archive."""

    def __init__(self, log: FakeEventLog) -> None:
        super().__init__(log)
        self.read: list[Span] = []
        self.broken: int | None = None

    async def records(self, span: Span) -> AsyncIterator[Record]:
        self.read.append(span)
        async for record in super().records(span):
            if record.place.offset == self.broken:
                raise InvalidResource("history", f"ai.results/0/{self.broken}", "here stands what is no Kafka record")
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
        7: "cannot be read: ai.results/0/7: here stands what is no Kafka record",
        4000: "removed (retention)",
    }
    assert gone[other] == "removed (its topic is not there)"


async def test_a_broker_that_is_away_is_no_record_that_is_gone(log: FakeEventLog) -> None:
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await records_at(History(log), held(log, 1))
    assert await records_at(History(log), []) == ({}, {})


async def test_nothing_is_read_before_it_is_asked_for(log: FakeEventLog) -> None:
    # an export asks for ten thousands of them
    history, found = History(log), []
    async for one in each_at(history, held(log, 399, 3, 5, 200)):
        found.append((one.place.offset, len(history.read)))
    assert found == [(3, 1), (5, 1), (200, 2), (399, 3)]


async def test_what_retention_took_costs_no_read_each(log: FakeEventLog) -> None:
    history = History(log)
    places = held(log, *range(500))
    history.remove_before("ai.results", places[0].partition, 300)
    found = [one async for one in each_at(history, places)]
    assert sorted(one.place.offset for one in found if not isinstance(one, Missing)) == list(range(300, 400))
    assert len(found) == 500 and {one.why for one in found if isinstance(one, Missing)} == {"removed (retention)"}
    assert len(history.read) == 2
