"""A record whose clock was ahead holds nothing back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import OrderEvent
from schemas.history import Span
from schemas.ports import Place, Record
from streams.linking import linked_orders
from streams.replay.answered import answered_at
from streams.replay.plan import Plan
from streams.replay.planning import planned
from streams.replay.selection import Selection
from streams.replay.whose import of, whose
from streams.steps.normalise import normalise
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.replayed_day import SITE, completed, day, ordered
from tests.unit.replays import said, uid
from tests.unit.test_replay_plan import START, history_of, read

NOW = START + timedelta(days=1)
YEARS = 300_000_000
TOPIC = "ai.requests"


def selected(*partitions: Sequence[int]) -> Selection:
    return Selection(places=tuple(Span(TOPIC, n, 0, len(times)) for n, times in enumerate(partitions) if times))


async def taken(*partitions: Sequence[int], known: bool = True) -> list[tuple[int, int, int]]:
    """Partition, offset and second of each, in the order in which they are taken."""
    history = history_of(*partitions, topic=TOPIC)
    plan = await planned(selected(*partitions), history, now=NOW if known else None)
    records = await read(plan, history)
    return [(one.place.partition, one.place.offset, int((one.timestamp - START).total_seconds())) for one in records]


times = st.lists(st.integers(0, 80_000), min_size=1, max_size=60).map(sorted)
#: of which places a record of another clock stands before
places = st.lists(st.booleans(), min_size=60, max_size=60)


@given(times, times, places, places)
async def test_what_is_of_the_future_holds_nothing_back(
    one: list[int], two: list[int], first: list[bool], second: list[bool]
) -> None:
    """However many there are. All others are taken as without them, and time does not pass by any."""
    partitions = [
        [at for time, wrong in zip(some, marks, strict=False) for at in ([YEARS + time, time] if wrong else [time])]
        for some, marks in ((one, first), (two, second))
    ]
    order = await taken(*partitions)
    right = [(at, partition) for partition, offset, at in order if partitions[partition][offset] < YEARS]
    assert right == sorted((at, n) for n, some in enumerate((one, two)) for at in some)
    for partition in (0, 1):
        assert [offset for of, offset, _ in order if of == partition] == list(range(len(partitions[partition])))
    assert [at for _, _, at in order] == sorted(at for _, _, at in order)


@given(times, st.integers(0, 59), st.integers(120, 10_000))
async def test_a_clock_that_was_ahead_is_known_by_those_behind(some: list[int], where: int, much: int) -> None:
    """Also when its time is long over. Two witnesses are needed."""
    spread = [at + 600 * number for number, at in enumerate(some)]
    where %= len(spread)
    ahead = [*spread[:where], spread[-1] + much, *spread[where:]]
    order = await taken(ahead, known=False)
    assert [offset for _, offset, _ in order] == list(range(len(ahead)))
    at = order[where][2]
    assert at == (spread[where] if len(spread) - where >= 2 else ahead[where])


async def test_one_that_stands_alone_is_taken_first_and_a_last_one_with_the_one_before() -> None:
    assert await taken([YEARS], [10, 20, YEARS]) == [(0, 0, 10), (1, 0, 10), (1, 1, 20), (1, 2, 20)]
    assert await taken([YEARS]) == [(0, 0, YEARS)]


async def test_what_came_too_early_and_small_differences_change_nothing() -> None:
    assert await taken([5000, 0, 5001, 5002], known=False) == [(0, 0, 5000), (0, 1, 0), (0, 2, 5001), (0, 3, 5002)]
    assert await taken([50, 0, 1, 2], known=False) == [(0, 0, 50), (0, 1, 0), (0, 2, 1), (0, 3, 2)]


async def test_a_plan_begins_and_ends_when_its_records_are_taken_and_another_time_is_another_plan() -> None:
    history = history_of([0, YEARS, 20], [5, 6, 30], topic=TOPIC)
    some = selected([0] * 3, [0] * 3)
    plan = await planned(some, history, now=NOW)
    assert (plan.earliest, plan.latest) == (START, START + timedelta(seconds=30))
    late = await planned(some, history, now=START + timedelta(seconds=2 * YEARS))
    assert late.latest == START + timedelta(seconds=YEARS), "nobody behind it but one"
    assert late.spans == plan.spans
    assert late.sha256 != plan.sha256
    alone = await planned(selected([0]), history_of([YEARS], topic=TOPIC), now=NOW)
    assert alone.earliest == alone.latest == START + timedelta(seconds=YEARS)


async def test_an_answer_of_a_worker_whose_clock_was_ahead_came_with_the_next_one() -> None:
    log = FakeEventLog()
    log.create("ai.results", 1)
    log.topics["ai.results"][0] = [
        Record(Place("ai.results", 0, n), b"1.2", b"", (("ce_id", b"%d" % n),), START + timedelta(seconds=at))
        for n, at in enumerate((1, YEARS, 5))
    ]
    found = await answered_at(FakeHistory(log), [Span("ai.results", 0, 0, 3)], ["1.2"], NOW)
    assert found == {name: START + timedelta(seconds=at) for name, at in (("0", 1), ("1", 5), ("2", 5))}


async def test_its_own_time_is_kept_by_whose_it_is_for_that_was_when_the_engine_heard_it() -> None:
    log = FakeEventLog()
    log.create("hl7.v2.raw", 1)
    log.create("imaging.studies", 1)
    order = ordered(1, "A1", START)
    log.topics["hl7.v2.raw"][0] = [at_second(order, n, at) for n, at in enumerate((0, YEARS, 1, 2, 3))]
    (nonsense, *_) = (one for one in day() if one.value == b"nonsense")
    log.topics["hl7.v2.raw"][0].append(at_second(nonsense, 5, YEARS))
    study = replace(completed(1, "A1", 0), key=b"1.2.3.1")
    log.topics["imaging.studies"][0] = [at_second(study, n, at) for n, at in enumerate((YEARS + 9, YEARS + 8, 2))]
    everything = Selection(places=(Span("hl7.v2.raw", 0, 0, 6), Span("imaging.studies", 0, 0, 3)))
    plan = await planned(everything, FakeHistory(log), now=NOW)
    years = START + timedelta(seconds=YEARS)
    assert {name: list(own) for name, own in plan.ahead_own.items()} == {
        "HIS|HOSPITAL|C1": [years],
        "1.2.3.1": [years + timedelta(seconds=8), years + timedelta(seconds=9)],
    }
    assert plan.latest == START + timedelta(seconds=3)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def at_second(record: Record, offset: int, at: int) -> Record:
    return replace(record, place=replace(record.place, offset=offset), timestamp=START + timedelta(seconds=at))


async def test_an_order_and_the_message_that_it_was_read_from_are_of_one_name() -> None:
    """And the state that it triggers says so."""
    message = ordered(1, "A1", START)
    (order,) = await normalise(message, site=SITE)
    event = OrderEvent.model_validate_json(order.value)
    read = replace(message, place=Place("imaging.orders", 0, 0), value=order.value)
    (reference,) = (told for one in linked_orders([event], event.accession_number) for told in one.messages)
    subject = said(1, messages=(reference,)).subject
    assert whose(message, "ASCII") == whose(read, "ASCII") == "HIS|HOSPITAL|C1"
    assert list(of(subject)) == [str(uid(1)), "HIS|HOSPITAL|C1"]
    assert whose(replace(message, place=Place("imaging.patients", 0, 0)), "ASCII") == ""
    assert whose(replace(read, value=b"{"), "ASCII") == ""
