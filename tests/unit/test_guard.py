"""Each error of the tree meets the outcome its name promises, and nothing is owed when the guard says it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import structlog

from schemas.case_store import Due
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    BrokerUnavailable,
    MalformedMessage,
    ModelFailed,
    RadstreamError,
    ResourceRefused,
    SettingsInvalid,
    StoreUnavailable,
    StudyIncomplete,
    Unsuitable,
)
from schemas.findings import NotAnalysedReason
from schemas.ports import Outgoing, Place, Record
from streams.due import MAX_ATTEMPTS
from streams.guard import UNEXPECTED_IN_A_ROW, Guard, Outcome, Refusal, StepStopped, tell_nobody
from streams.topics import DEAD_LETTERS
from tests.contract.fake_event_log import FakeEventLog

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECRET = "Doe^Jane"
IN, OUT = "in", "out"


class Clock:
    def now(self) -> datetime:
        return NOW


class Store:
    """Keeps due work; `failures` are raised first."""

    def __init__(self) -> None:
        self.due: dict[object, Due] = {}
        self.failures: list[Exception] = []

    async def put_due(self, due: Due) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.due[due.id] = due


class Script:
    """A step that raises what the script says, one after another, and then does its work."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, record: Record) -> Sequence[Outgoing]:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return [Outgoing(OUT, record.key, record.value)]


class Health:
    """What a guard says of its health; can be awaited."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, state: str, reason: str) -> None:
        self.states.append(state)
        self._news.set()

    async def paused(self, count: int = 1) -> None:
        """It has said so this often."""
        async with asyncio.timeout(30):
            while self.states.count("paused") < count:
                self._news.clear()
                await self._news.wait()


class House:
    def __init__(self, *errors: Exception, refusal: Refusal = tell_nobody) -> None:
        self.log = FakeEventLog(IN, OUT, DEAD_LETTERS.name)
        self.store = Store()
        self.step = Script(*errors)
        self.stop = asyncio.Event()
        self.health = Health()
        self.guard = Guard(
            "verb",
            self.step,
            self.log,
            self.store,
            Clock(),
            self.stop,
            health=self.health,
            refusal=refusal,
            first_pause_s=0.001,
            longest_pause_s=0.004,
        )

    def letters(self) -> list[Record]:
        return self.log.records(DEAD_LETTERS.name)

    def written(self) -> list[bytes]:
        return [record.value for record in self.log.records(OUT)]


def record(offset: int = 0, **headers: str) -> Record:
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return Record(Place(IN, 0, offset), b"key", SECRET.encode(), encoded, NOW)


def error(kind: type[RadstreamError]) -> RadstreamError:
    return kind("verb", "1.2.3", "our own words")


async def test_done_means_that_the_output_is_on_the_log() -> None:
    house = House()
    assert await house.guard(record()) is Outcome.DONE
    assert house.written() == [SECRET.encode()]
    assert house.letters() == []
    assert house.health.states == []


@pytest.mark.parametrize("kind", [MalformedMessage, AccessRefused, ModelFailed])
async def test_what_can_never_be_done_is_a_dead_letter(kind: type[RadstreamError]) -> None:
    house = House(error(kind))
    assert await house.guard(record()) is Outcome.DEAD_LETTER
    (letter,) = house.letters()
    assert (letter.key, letter.value) == (b"key", SECRET.encode())
    assert (letter.header("error"), letter.header("reason")) == (kind.__name__, "1.2.3: our own words")
    assert (letter.header("topic"), letter.header("offset"), letter.header("attempts")) == (IN, "0", "1")
    assert await house.guard(record(1)) is Outcome.DONE


async def test_what_the_sender_is_told_is_written_with_the_dead_letter_and_only_then() -> None:
    asked: list[Exception] = []

    def refusal(refused: Record, why: Exception) -> Sequence[Outgoing]:
        asked.append(why)
        return [Outgoing(OUT, refused.key, b"told")]

    for failure in (error(MalformedMessage), ValueError(SECRET)):
        house = House(failure, refusal=refusal)
        assert await house.guard(record()) is Outcome.DEAD_LETTER
        assert (house.written(), len(house.letters()), asked.pop()) == ([b"told"], 1, failure)
        assert await house.guard(record(1)) is Outcome.DONE
        assert asked == []


async def test_what_another_reader_parked_is_not_done_again() -> None:
    house = House()
    assert await house.guard(record(**{"parked-by": "another", "attempts": "14"})) is Outcome.DONE
    assert (house.step.calls, house.written()) == (0, [])
    assert await house.guard(record(1, **{"parked-by": "verb", "attempts": "14"})) is Outcome.DONE
    assert house.step.calls == 1


async def test_the_receivers_words_are_kept_and_not_logged() -> None:
    house = House(ResourceRefused("verb", "1.2.3", "422", b"outcome of " + SECRET.encode()))
    with structlog.testing.capture_logs() as lines:
        await house.guard(record())
    assert house.letters()[0].header("operation-outcome") == f"outcome of {SECRET}"
    assert lines
    assert SECRET not in repr(lines)


async def test_an_unexpected_exception_is_a_dead_letter_without_its_words() -> None:
    house = House(ValueError(f"invalid literal {SECRET}"))
    with structlog.testing.capture_logs() as lines:
        assert await house.guard(record()) is Outcome.DEAD_LETTER
    (letter,) = house.letters()
    assert letter.header("error") == "ValueError"
    assert SECRET.encode() not in b"".join(value for _, value in letter.headers)
    assert SECRET not in repr(lines)
    assert "test_guard.py" in lines[-1]["reason"], "but where it happened is told"


@pytest.mark.parametrize(
    "unexpected",
    [
        KeyError("x"),
        TimeoutError(),
        error(SettingsInvalid),
        Unsuitable("verb", "1.2.3", "a step must answer it itself", NotAnalysedReason.WRONG_VIEW),
    ],
)
async def test_five_unexpected_in_a_row_stop_the_step_and_the_fifth_is_not_put_aside(unexpected: Exception) -> None:
    house = House(*[unexpected] * UNEXPECTED_IN_A_ROW)
    for offset in range(UNEXPECTED_IN_A_ROW - 1):
        assert await house.guard(record(offset)) is Outcome.DEAD_LETTER
    with pytest.raises(StepStopped, match="in/0/4"):
        await house.guard(record(UNEXPECTED_IN_A_ROW - 1))
    assert len(house.letters()) == UNEXPECTED_IN_A_ROW - 1


@pytest.mark.parametrize("between", [None, MalformedMessage, StudyIncomplete])
async def test_any_other_outcome_breaks_the_row(between: type[RadstreamError] | None) -> None:
    house = House(*[KeyError()] * (UNEXPECTED_IN_A_ROW - 1))
    for offset in range(UNEXPECTED_IN_A_ROW - 1):
        await house.guard(record(offset))
    if between:
        house.step.errors.append(error(between))
    await house.guard(record(10))
    house.step.errors = [KeyError()]
    assert await house.guard(record(11)) is Outcome.DEAD_LETTER


async def test_rejected_input_never_stops_a_step() -> None:
    house = House(*[error(MalformedMessage) for _ in range(20)])
    assert {await house.guard(record(offset)) for offset in range(20)} == {Outcome.DEAD_LETTER}
    assert len(house.letters()) == 20


async def test_not_yet_is_parked_and_the_next_goes_on() -> None:
    house = House(error(StudyIncomplete))
    assert await house.guard(record(attempts="2")) is Outcome.PARKED
    (due,) = house.store.due.values()
    assert (due.record, due.step, due.attempts, due.reason) == (record(attempts="2"), "verb", 3, "StudyIncomplete")
    assert due.not_before > NOW
    assert await house.guard(record(1)) is Outcome.DONE
    assert house.letters() == []


async def test_parked_too_often_is_a_dead_letter() -> None:
    house = House(error(StudyIncomplete))
    assert await house.guard(record(attempts=str(MAX_ATTEMPTS - 1))) is Outcome.DEAD_LETTER
    assert house.store.due == {}
    assert house.letters()[0].header("attempts") == str(MAX_ATTEMPTS)


@pytest.mark.parametrize("said", ["", "-1", "many", "²", "9" * 5000])
async def test_a_header_of_attempts_that_is_none_of_ours(said: str) -> None:
    house = House(error(StudyIncomplete))
    assert await house.guard(record(attempts=said)) is Outcome.PARKED
    assert [due.attempts for due in house.store.due.values()] == [1]


async def test_a_dependency_that_is_down_is_waited_for_with_health_red() -> None:
    house = House(*[error(ArchiveUnavailable) for _ in range(4)])
    assert await house.guard(record()) is Outcome.DONE
    assert house.step.calls == 5
    assert house.health.states == ["paused"] * 4 + ["ready"]
    assert house.written() == [SECRET.encode()]


async def test_the_broker_away_at_the_output_does_not_repeat_the_step() -> None:
    house = House()
    house.log.away = True
    running = asyncio.create_task(house.guard(record()))
    await house.health.paused()
    assert not running.done()
    house.log.away = False
    assert await running is Outcome.DONE
    assert house.step.calls == 1
    assert house.written() == [SECRET.encode()]


async def test_no_outcome_before_the_dead_letter_is_written() -> None:
    house = House(error(MalformedMessage))
    house.log.away = True
    running = asyncio.create_task(house.guard(record()))
    await house.health.paused()
    assert not running.done()
    house.log.away = False
    assert await running is Outcome.DEAD_LETTER
    assert len(house.letters()) == 1


async def test_no_outcome_before_the_parked_record_is_stored() -> None:
    house = House(error(StudyIncomplete))
    house.store.failures = [error(StoreUnavailable), error(StoreUnavailable)]
    assert await house.guard(record()) is Outcome.PARKED
    assert len(house.store.due) == 1
    assert house.health.states == ["paused", "paused", "ready"]


async def test_a_record_that_can_be_put_aside_nowhere_stops_the_step() -> None:
    house = House(error(StudyIncomplete))
    house.store.failures = [KeyError("a bug in the store")]
    with pytest.raises(StepStopped):
        await house.guard(record())
    large = House(error(MalformedMessage))
    with pytest.raises(StepStopped):
        await large.guard(replace(record(), value=bytes(2 * 1024 * 1024)))


async def test_an_output_the_broker_never_takes_makes_the_input_a_dead_letter() -> None:
    house = House()

    async def too_much(_: Record) -> Sequence[Outgoing]:
        return [Outgoing(OUT, None, bytes(2 * 1024 * 1024))]

    guard = Guard("verb", too_much, house.log, house.store, Clock(), house.stop)
    assert await guard(record()) is Outcome.DEAD_LETTER


async def test_stop_ends_a_pause_and_the_record_is_unfinished() -> None:
    house = House(*[error(BrokerUnavailable) for _ in range(1000)])
    guard = Guard("verb", house.step, house.log, house.store, Clock(), house.stop, health=house.health, first_pause_s=60)
    running = asyncio.create_task(guard(record()))
    await house.health.paused()
    house.stop.set()
    assert await asyncio.wait_for(running, 5) is Outcome.UNFINISHED
    assert house.step.calls == 1
    assert house.written() == []


async def test_several_at_once_are_ready_only_when_none_is_paused() -> None:
    house = House()
    house.log.away = True
    running = [asyncio.create_task(house.guard(record(offset))) for offset in range(3)]
    await house.health.paused(3)
    house.log.away = False
    assert await asyncio.gather(*running) == [Outcome.DONE] * 3
    assert house.health.states.count("ready") == 1
    assert house.health.states[-1] == "ready"


async def test_cancelling_is_no_outcome() -> None:
    house = House(*[error(BrokerUnavailable) for _ in range(1000)])
    running = asyncio.create_task(house.guard(record()))
    await house.health.paused()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
