"""Durable time: nothing parked is lost, done early, or blocks another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from schemas.case_store import CaseStore, Due
from schemas.errors import BrokerUnavailable, InvalidResource, StudyIncomplete
from schemas.identifiers import identity
from schemas.ports import EventLog, Outgoing, Place, Record
from streams import due as durable
from streams.due import LONGEST_DELAY, MAX_ATTEMPTS, attempts_of, park, park_delay, run_sweeper, sweep, unparked

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RECORD = Record(Place("ai.requests", 2, 41), b"1.2.3", b"\x00value", (("ce_id", b"7"), ("ce_id", b"8")), NOON)
ERROR = StudyIncomplete("analyse", "1.2.3", "not there yet")


@dataclass
class Time:
    moment: datetime = NOON

    def now(self) -> datetime:
        return self.moment


@dataclass
class Log(EventLog):
    """Keeps what is appended; `refuses` what a broker would."""

    written: list[Outgoing] = field(default_factory=list)
    down: bool = False
    refused_topic: str = ""

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        if self.down:
            raise BrokerUnavailable("append", "log", "down")
        if any(record.topic == self.refused_topic for record in records):
            raise InvalidResource("append", "log", "too large")
        self.written += records
        return [Place(record.topic, 0, offset) for offset, record in enumerate(records)]


def timer(name: str, reason: str = "order-awaited") -> Due:
    return Due(identity("timer", name), reason, name, NOON)


def answering(*outputs: Outgoing) -> durable.Timer:
    async def fire(due: Due, at: datetime) -> Sequence[Outgoing]:
        return outputs

    return fire


def test_delays_grow_up_to_a_cap() -> None:
    delays = [park_delay(attempts) for attempts in range(1, 2000)]
    assert delays[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY
    assert sum(delays[:MAX_ATTEMPTS], timedelta()) > timedelta(hours=1)


async def test_a_parked_record_comes_again_on_its_own_topic_when_its_time_has_come(cases: CaseStore) -> None:
    log, clock = Log(), Time()
    await cases.put_due(park(RECORD, "analyse", ERROR, 1, NOON))
    clock.moment = NOON + timedelta(seconds=4.9)
    assert await sweep(cases, log, clock, {}) == 0
    assert log.written == []
    clock.moment = NOON + timedelta(seconds=5)
    assert await sweep(cases, log, clock, {}) == 1
    headers = (*RECORD.headers, ("attempts", b"1"), ("parked-from", b"ai.requests/2/41"), ("parked-by", b"analyse"))
    assert log.written == [Outgoing("ai.requests", b"1.2.3", b"\x00value", headers)]
    assert await sweep(cases, log, clock, {}) == 0


def test_identity_stays_with_the_place_where_the_record_first_stood() -> None:
    first = park(RECORD, "analyse", ERROR, 1, NOON)
    assert (first.reason, first.case, first.step, first.attempts) == ("StudyIncomplete", "1.2.3", "analyse", 1)
    out = unparked(first, RECORD)
    again = Record(Place("ai.requests", 2, 99), out.key, out.value, out.headers, NOON)
    twin = Record(Place("ai.requests", 2, 100), out.key, out.value, out.headers, NOON)
    assert attempts_of(again) == 1
    second = park(again, "analyse", ERROR, attempts_of(again) + 1, NOON)
    assert second.id == park(twin, "analyse", ERROR, 2, NOON).id  # appended twice by a crash: parked once
    assert second.id != first.id  # the sweeper that removes the first leaves the second
    twice = {"ce_id": b"8", "attempts": b"2", "parked-from": b"ai.requests/2/41", "parked-by": b"analyse"}
    assert dict(unparked(second, again).headers) == twice
    assert len({first.id, park(RECORD, "deliver", ERROR, 1, NOON).id}) == 2


@pytest.mark.parametrize("header", [b"", b"-1", b"x", "²".encode(), b"9" * 5000])
def test_a_foreign_attempts_header_counts_as_none(header: bytes) -> None:
    assert attempts_of(Record(RECORD.place, None, b"", (("attempts", header),), NOON)) == 0


async def test_one_bad_item_blocks_no_other_and_is_put_off(cases: CaseStore) -> None:
    async def fails(due: Due, at: datetime) -> Sequence[Outgoing]:
        raise ValueError("DOE^JANE")

    log, clock = Log(refused_topic="refused"), Time()
    good = Outgoing("good", None, b"")
    items = [timer("fails", "fails"), timer("unknown", "unknown"), timer("refused", "refused"), *map(timer, "abc")]
    for item in items:
        await cases.put_due(item)
    timers = {"order-awaited": answering(good), "refused": answering(Outgoing("refused", None, b"")), "fails": fails}
    assert await sweep(cases, log, clock, timers) == 3
    assert log.written == [good] * 3
    assert await sweep(cases, log, clock, timers) == 0  # put off: not due now
    clock.moment += timedelta(seconds=5)
    kept = await cases.due_before(clock.now())
    assert {(item.case, item.attempts) for item in kept} == {("fails", 1), ("unknown", 1), ("refused", 1)}


async def test_nothing_is_removed_before_its_outputs_are_written(cases: CaseStore) -> None:
    log, clock = Log(down=True), Time()
    await cases.put_due(timer("a"))
    with pytest.raises(BrokerUnavailable):
        await sweep(cases, log, clock, {"order-awaited": answering(Outgoing("t", None, b""))})
    assert await cases.due_before(NOON) == [timer("a")]
    log.down = False
    assert await sweep(cases, log, clock, {"order-awaited": answering(Outgoing("t", None, b""))}) == 1
    assert await cases.due_before(NOON) == []


async def test_the_sweeper_outlives_a_broker_that_is_down_and_ends_when_told(cases: CaseStore) -> None:
    log, stop, tried = Log(down=True), asyncio.Event(), asyncio.Event()
    written = asyncio.Event()

    async def fire(due: Due, at: datetime) -> Sequence[Outgoing]:
        (written if not log.down else tried).set()
        return (Outgoing("t", None, due.case.encode()),)

    for n in range(durable.LIMIT + 5):
        await cases.put_due(timer(f"{n:03}"))
    sweeper = asyncio.create_task(
        run_sweeper(cases, log, Time(), {"order-awaited": fire}, stop=stop, interval=timedelta(milliseconds=10))
    )
    async with asyncio.timeout(30):
        await tried.wait()
        log.down = False
        await written.wait()
        while await cases.due_before(NOON, 1):
            await asyncio.sleep(0.01)
        stop.set()
        await sweeper
    assert sorted(out.value for out in log.written) == [f"{n:03}".encode() for n in range(durable.LIMIT + 5)]
