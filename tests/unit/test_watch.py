"""First the log, then the position; a source that fails pauses alone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import pytest

from schemas.case_store import CaseStore
from schemas.errors import AccessRefused, ArchiveUnavailable, BrokerUnavailable, InvalidResource
from schemas.identifiers import StudyInstanceUID, identity
from schemas.notices import StudyNoticed
from schemas.study_ports import NoticeBatch, RefusedChange
from streams.topics import DEAD_LETTERS, NOTICES
from streams.watch import take_over, teller, watch
from tests.contract.fake_event_log import FakeEventLog


def _event(number: int) -> StudyNoticed:
    study = StudyInstanceUID(f"1.2.{number}")
    return StudyNoticed(
        id=identity("noticed", study), time=datetime(2026, 1, 1, tzinfo=UTC), study_instance_uid=study, source="scripted"
    )


class ScriptedSource:
    """Study n is at position n; batches of two. `failing` is asked before each answer; `refused` studies are passed over."""

    def __init__(
        self,
        name: str,
        studies: int,
        failing: Callable[[], Exception | None] = lambda: None,
        refused: Mapping[int, RefusedChange] = {},
    ) -> None:
        self.name = name
        self.studies = studies
        self._failing = failing
        self._refused = refused
        self.asked: list[str | None] = []

    async def noticed_since(self, position: str | None) -> NoticeBatch:
        self.asked.append(position)
        error = self._failing()
        if error is not None:
            raise error
        since = int(position or 0)
        upto = min(since + 2, self.studies)
        numbers = range(since + 1, upto + 1)
        return NoticeBatch(
            notices=[_event(n) for n in numbers if n not in self._refused],
            refused=[self._refused[n] for n in numbers if n in self._refused],
            position=str(upto) if upto else position,
        )


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog(NOTICES.name, DEAD_LETTERS.name)


def _studies(log: FakeEventLog) -> list[str]:
    found = [StudyNoticed.model_validate_json(record.value) for record in log.records(NOTICES.name)]
    return sorted(event.study_instance_uid for event in found)


async def _watch_until(done: Callable[[], bool], sources: Sequence[ScriptedSource], log: FakeEventLog, cases: CaseStore) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(watch(sources, log, cases, interval_s=0.01, stop=stop))
    async with asyncio.timeout(10):
        while not done() and not task.done():
            await asyncio.sleep(0.01)
        stop.set()
        await task


async def test_an_event_goes_on_the_log_with_its_study_as_key(log: FakeEventLog, cases: CaseStore) -> None:
    assert await take_over(ScriptedSource("scripted", 1), log, cases)
    (record,) = log.records(NOTICES.name)
    assert record.key == b"1.2.1"
    assert record.value == _event(1).model_dump_json().encode()
    assert record.header("ce_id") == str(_event(1).id)
    assert record.header("ce_type") == StudyNoticed.TYPE
    assert await cases.position("scripted") == "1"


async def test_nothing_new_keeps_the_position(log: FakeEventLog, cases: CaseStore) -> None:
    source = ScriptedSource("scripted", 1)
    await take_over(source, log, cases)
    assert not await take_over(source, log, cases)
    assert len(log.records(NOTICES.name)) == 1


async def test_the_position_stays_when_the_log_is_away(log: FakeEventLog, cases: CaseStore) -> None:
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await take_over(ScriptedSource("scripted", 1), log, cases)
    assert await cases.position("scripted") is None


REFUSED = RefusedChange(
    change=b'{"ID": "abc"}',
    time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    error=InvalidResource("describe", "study 1.2.1", "a SOP Instance UID breaks the standard"),
)


async def test_a_study_that_is_passed_over_is_a_dead_letter(log: FakeEventLog, cases: CaseStore) -> None:
    assert await take_over(ScriptedSource("scripted", 1, refused={1: REFUSED}), log, cases)
    (letter,) = log.records(DEAD_LETTERS.name)
    assert (letter.key, letter.value) == (None, REFUSED.change)
    told = {name: letter.header(name) for name, _ in letter.headers}
    assert told.pop("traceparent")
    assert told == {
        "topic": "scripted",
        "step": "watch",
        "error": "InvalidResource",
        "reason": "study 1.2.1: a SOP Instance UID breaks the standard",
        "attempts": "1",
        "ce_specversion": "1.0",
        "ce_id": str(identity("study-refused", "scripted", hashlib.sha256(REFUSED.change).hexdigest())),
        "ce_type": "org.radstream.dead-letter.v1",
        "ce_source": "radstream",
        "ce_time": "2026-01-02T03:04:05Z",
        "content-type": "application/json",
    }
    assert log.records(NOTICES.name) == []
    assert await cases.position("scripted") == "1"


async def test_the_position_stays_until_the_dead_letter_is_on_the_log(log: FakeEventLog, cases: CaseStore) -> None:
    source = ScriptedSource("scripted", 2, refused={1: REFUSED})
    log.away = True
    with pytest.raises(BrokerUnavailable):
        await take_over(source, log, cases)
    assert await cases.position("scripted") is None
    log.away = False
    assert await take_over(source, log, cases)
    assert len(log.records(DEAD_LETTERS.name)) == 1
    assert _studies(log) == ["1.2.2"]


async def test_all_studies_of_all_sources_come_once_each(log: FakeEventLog, cases: CaseStore) -> None:
    sources = [ScriptedSource("one", 5), ScriptedSource("other", 3)]
    await _watch_until(lambda: len(log.records(NOTICES.name)) == 8, sources, log, cases)
    assert _studies(log) == sorted([f"1.2.{n}" for n in range(1, 6)] + [f"1.2.{n}" for n in range(1, 4)])
    assert (await cases.position("one"), await cases.position("other")) == ("5", "3")


async def test_watching_goes_on_where_it_stopped(log: FakeEventLog, cases: CaseStore) -> None:
    source = ScriptedSource("scripted", 2)
    await _watch_until(lambda: len(log.records(NOTICES.name)) == 2, [source], log, cases)
    again = ScriptedSource("scripted", 4)
    await _watch_until(lambda: len(log.records(NOTICES.name)) == 4, [again], log, cases)
    assert again.asked[0] == "2"
    assert _studies(log) == ["1.2.1", "1.2.2", "1.2.3", "1.2.4"]


@pytest.mark.parametrize("error", [ArchiveUnavailable, AccessRefused])
async def test_a_source_that_fails_pauses_alone_and_goes_on(
    log: FakeEventLog, cases: CaseStore, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    left = 3

    def failing() -> Exception | None:
        nonlocal left
        left -= 1
        return error("watch", "scripted", "why") if left >= 0 else None

    sources = [ScriptedSource("failing", 2, failing), ScriptedSource("good", 1)]
    await _watch_until(lambda: len(log.records(NOTICES.name)) == 3, sources, log, cases)
    assert (await cases.position("failing"), await cases.position("good")) == ("2", "1")
    assert capsys.readouterr().out.count("source pauses") == 1  # told once, not once a try


async def test_the_broker_comes_back(log: FakeEventLog, cases: CaseStore) -> None:
    log.away = True
    source = ScriptedSource("scripted", 2)

    def after_three_tries() -> bool:
        log.away = len(source.asked) < 3
        return len(log.records(NOTICES.name)) == 2

    await _watch_until(after_three_tries, [source], log, cases)
    assert _studies(log) == ["1.2.1", "1.2.2"]


async def test_the_unexpected_ends_the_role(log: FakeEventLog, cases: CaseStore) -> None:
    source = ScriptedSource("scripted", 1, lambda: ZeroDivisionError())
    with pytest.raises(ExceptionGroup) as caught:
        await _watch_until(lambda: False, [source], log, cases)
    assert caught.group_contains(ZeroDivisionError)
    assert await cases.position("scripted") is None


async def test_what_a_listener_is_told_is_on_the_log_under_its_study_when_tell_returns() -> None:
    log = FakeEventLog(NOTICES.name)
    await teller(log)([_event(1), _event(2)])
    records = sorted(log.records(NOTICES.name), key=lambda record: record.key or b"")
    assert [record.key for record in records] == [b"1.2.1", b"1.2.2"]
    assert StudyNoticed.model_validate_json(records[0].value) == _event(1)
