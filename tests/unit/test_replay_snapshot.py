"""A replay that was killed goes on to the result that it would have had, to the last record and its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from connectors.case_store import SqlCaseStore
from connectors.case_store.copying import copy_database
from schemas.errors import BrokerUnavailable, Rejected, StoreUnavailable
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.replay.cascade import Coming, Part
from streams.replay.snapshot import State, Waiting
from tests.unit.cases import minutes
from tests.unit.replayed_day import REQUESTS, SANDBOX, Broker, Killed, Replay, day, found, ordered, repeated_day

#: longer than receivers wait
ANSWERED_AFTER = timedelta(minutes=12)


@cache
def inputs() -> Sequence[Record]:
    return day(5)


_WHOLE: list[Broker] = []


@pytest.fixture
async def whole(tmp_path: Path) -> Broker:
    """Of a run that nobody interrupted; made once."""
    if not _WHOLE:
        broker = Broker()
        assert await Replay(broker, tmp_path / "whole", inputs()).run()
        _WHOLE.append(broker)
    return _WHOLE[0]


@pytest.mark.parametrize("at", [1, 2, 5, 8, 11])
async def test_killed_at_an_append_and_again_at_a_later_one(tmp_path: Path, whole: Broker, at: int) -> None:
    broker = Broker()
    replay = Replay(broker, tmp_path / "killed", inputs())
    await replay.until_killed(at)
    await replay.until_killed(2)
    assert await replay.run()
    assert broker.said() == whole.said()


async def test_killed_at_every_append_of_a_day_on_which_the_same_is_said_again(tmp_path: Path) -> None:
    def replay(broker: Broker, name: str) -> Replay:
        return Replay(broker, tmp_path / name, repeated_day(), analyse=Part("analyse", found, REQUESTS, answers=True))

    told = Broker()
    assert await replay(told, "whole").run(every_inputs=500)
    said = told.said()[SANDBOX.results.name]
    assert len(set(said)) < len(said), "the answer was marked again"
    for at in range(1, told.appends + 1):
        broker = Broker()
        broker.kill_at = at
        with pytest.raises(Killed):
            await replay(broker, f"killed-{at}").run(every_inputs=500)
        assert await replay(broker, f"killed-{at}").run(every_inputs=500)
        assert broker.said() == told.said(), at


async def test_answers_that_are_still_to_come_are_kept(tmp_path: Path, whole: Broker) -> None:
    asked = whole.records(SANDBOX.own(topics.REQUESTS).name)
    answered = {one.header("ce_id") or "": minutes(3 * number) + ANSWERED_AFTER for number, one in enumerate(asked)}
    waited = Broker()
    assert await Replay(waited, tmp_path / "waited", inputs(), answered).run()
    broker = Broker()
    replay = Replay(broker, tmp_path / "killed", inputs(), answered)
    for _ in range(4):
        await replay.until_killed(2)
    assert await replay.run()
    assert broker.said() == waited.said()
    assert waited.said() != whole.said(), "receivers were told that they are late"


async def test_a_pause_is_kept_and_goes_on(tmp_path: Path, whole: Broker) -> None:
    broker = Broker()
    replay = Replay(broker, tmp_path / "paused", inputs())
    replay.stop.set()
    assert not await replay.run()
    assert not any(broker.said().values())
    replay.stop.clear()
    assert await replay.run()
    assert broker.said() == whole.said()


async def test_done_is_done(tmp_path: Path) -> None:
    broker = Broker()
    replay = Replay(broker, tmp_path / "done", inputs()[:4])
    assert await replay.run()
    said = broker.said()
    assert await replay.run()
    assert broker.said() == said


async def test_a_broker_that_has_written_and_does_not_say_so_makes_no_record_twice(tmp_path: Path, whole: Broker) -> None:
    class Silent(Broker):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            places = await super().append(records[: self.appends % (len(records) + 1)])
            if len(places) < len(records):
                raise BrokerUnavailable("append", records[0].topic, "not confirmed")
            return places

    broker = Silent()
    replay = Replay(broker, tmp_path / "silent", inputs())
    assert await replay.run()
    assert broker.said() == whole.said()


async def test_what_stands_there_and_is_not_what_is_said_now_ends_it(tmp_path: Path) -> None:
    """Another version of the engine, or another model: no result may be half of the one and half of the other."""
    broker = Broker()
    replay = Replay(broker, tmp_path / "killed", inputs())
    await replay.until_killed(3)
    other = [ordered(number, f"B{number}", minutes(number)) for number in range(1, 9)]
    with pytest.raises(Rejected, match="another name"):
        await Replay(broker, tmp_path / "other", other).run()


async def test_a_sandbox_that_was_emptied_meanwhile_ends_it(tmp_path: Path) -> None:
    replay = Replay(Broker(), tmp_path / "killed", inputs())
    await replay.until_killed(8)
    with pytest.raises(Rejected, match="is gone"):
        await Replay(Broker(), tmp_path / "killed", inputs()).run()


def test_what_is_kept_comes_back() -> None:
    out = Outgoing("ai.results", b"\xffk", b"\x00v", (("ce_id", b"1"), ("x", b"\xfe")))
    state = State(done=3, positions={"hl7.v2.raw/2": 7}, coming=(Waiting.of(Coming(minutes(1), 4, out)),), number=5)
    again = State.model_validate_json(state.model_dump_json())
    (coming,) = again.coming
    assert coming.coming() == Coming(minutes(1), 4, out)
    assert coming.coming().out == out
    assert again.offsets == {("hl7.v2.raw", 2): 7}


async def test_a_copy_is_whole_and_an_older_one_stays_when_there_is_none(tmp_path: Path) -> None:
    source, target = tmp_path / "work.db", tmp_path / "snapshot.db"
    store = SqlCaseStore(f"sqlite:///{source}", durable=False)
    await store.put_position("far", "7")
    copy_database(source, target)
    await store.put_position("far", "8")
    copied = SqlCaseStore(f"sqlite:///{target}")
    assert await copied.position("far") == "7", "though the other one is in use"
    await copied.close()
    await store.close()
    assert target.stat().st_mode & 0o077 == 0
    source.unlink()
    source.mkdir()
    before = target.read_bytes()
    with pytest.raises(StoreUnavailable):
        copy_database(source, target)
    assert target.read_bytes() == before


def test_a_kill_is_none_of_our_errors() -> None:
    assert not issubclass(Killed, (BrokerUnavailable, Rejected)), "or the guard would have a word for it"
