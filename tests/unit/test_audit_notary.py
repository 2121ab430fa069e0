"""The notary goes on from where it was, whatever happened in between, and hides nothing that happened."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.errors import BrokerUnavailable, StoreUnavailable
from schemas.ports import Outgoing, Place
from streams import topics
from streams.audit import notary, standing
from streams.audit.checkpoint_file import CheckpointFile, CheckpointFileChanged
from streams.audit.notary import Notary
from streams.audit.signing import Signer
from streams.audit.standing import CheckpointsDisagree
from streams.audit.verified import Sources, verify
from tests.unit.notarised import CHECKPOINTS, Notarised

RESULTS = topics.RESULTS.name


class Killed(BaseException):
    """kill -9."""


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


async def result(notarised: Notarised, value: bytes = b"findings") -> Place:
    (place,) = await notarised.log.append([Outgoing(RESULTS, b"1.2.3", value)])
    return place


def on_topic(notarised: Notarised) -> list[bytes]:
    return [record.value for record in notarised.log.records(CHECKPOINTS)]


async def test_topic_and_file_hold_the_same(notarised: Notarised) -> None:
    await notarised.filled(random.Random(1), looks=2)
    assert notarised.lines() == on_topic(notarised) and len(notarised.lines()) > 10
    told = [json.loads(line) for line in notarised.lines()]
    assert [one["number"] for one in told] == list(range(1, len(told) + 1))
    (first,) = [one for one in notarised.log.records(CHECKPOINTS) if one.place.offset == 0]
    assert first.key == f"{told[0]['topic']}/{told[0]['partition']}".encode()
    assert first.header("ce_type") == "org.radstream.checkpoint.signed.v1"


async def test_nothing_is_signed_where_nothing_is_new(notarised: Notarised) -> None:
    await notarised.sign()
    assert not on_topic(notarised)
    await result(notarised)
    await notarised.sign()
    await notarised.sign()
    assert len(on_topic(notarised)) == 1


async def test_much_at_once_is_signed_in_pieces(notarised: Notarised) -> None:
    for _ in range(20):
        place = await result(notarised)
    assert [await notarised.notary.look() for _ in range(3)] == [True, True, False]
    ends = [json.loads(line)["end"] for line in notarised.lines()]
    assert ends == [7, 14, 20] and place.offset == 19


async def test_another_process_goes_on(notarised: Notarised) -> None:
    chance = random.Random(2)
    for _ in range(4):
        await notarised.filled(chance, looks=1)
        notarised.restart()
    told = await notarised.verify()
    assert told.well and not told.notes
    assert {one.first for one in told.proven} == {0}


def _killed_before_the_file(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: CheckpointFile, values: Sequence[bytes]) -> None:
        raise Killed

    monkeypatch.setattr(CheckpointFile, "append", append)


def _killed_within_a_line(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self: CheckpointFile, values: Sequence[bytes]) -> None:
        with self.path.open("ab") as file:
            file.write(b"\n".join(values)[: sum(map(len, values)) * 2 // 3])
        raise Killed

    monkeypatch.setattr(CheckpointFile, "append", append)


@pytest.mark.parametrize("kill", [_killed_before_the_file, _killed_within_a_line])
@pytest.mark.parametrize("looks", [0, 2])
async def test_killed_between_topic_and_file(notarised: Notarised, monkeypatch: pytest.MonkeyPatch, kill: Any, looks: int) -> None:
    chance = random.Random(3)
    await notarised.filled(chance, looks=looks)
    await notarised.notary.look()
    await notarised.write(chance, 20)
    with monkeypatch.context() as patched:
        kill(notarised, patched)
        with pytest.raises(Killed):
            await notarised.notary.look()
    assert len(on_topic(notarised)) > len(notarised.lines())
    told = await notarised.verify()
    assert told.well and "lacks the last checkpoints" in told.notes[0]
    notarised.restart()
    await notarised.sign()
    assert notarised.lines() == on_topic(notarised)
    told = await notarised.verify()
    assert told.well and not told.notes


async def test_killed_before_it_was_on_the_topic(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    async def append(records: Sequence[Outgoing]) -> Sequence[Place]:
        raise Killed

    await notarised.filled(random.Random(4), looks=1)
    await result(notarised)
    with monkeypatch.context() as patched:
        patched.setattr(notarised.log, "append", append)
        with pytest.raises(Killed):
            await notarised.notary.look()
    notarised.restart()
    await notarised.sign()
    assert (await notarised.verify()).well


async def test_what_was_not_confirmed_is_written_again(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker had it all the same: it stands there twice, which is no second checkpoint."""
    await notarised.filled(random.Random(5), looks=1)
    append = notarised.log.append

    async def unconfirmed(records: Sequence[Outgoing]) -> Sequence[Place]:
        await append(records)
        raise BrokerUnavailable("append", CHECKPOINTS, "not confirmed")

    await result(notarised)
    before = len(notarised.lines())
    with monkeypatch.context() as patched:
        patched.setattr(notarised.log, "append", unconfirmed)
        with pytest.raises(BrokerUnavailable):
            await notarised.notary.look()
    await notarised.sign()
    await result(notarised)
    await notarised.sign()
    assert len(notarised.lines()) == before + 2 and len(on_topic(notarised)) == before + 3
    assert (await notarised.verify()).well and not notarised.notary.alarms
    notarised.restart()
    await notarised.sign()
    assert not notarised.notary.alarms


async def test_a_full_disk_is_waited_for(notarised: Notarised) -> None:
    await notarised.filled(random.Random(6), looks=1)
    await result(notarised)
    lines = notarised.lines()
    notarised.file.rename(notarised.folder / "aside")
    notarised.file.mkdir()
    with pytest.raises(StoreUnavailable):
        await notarised.notary.look()
    notarised.file.rmdir()
    (notarised.folder / "aside").rename(notarised.file)
    await notarised.sign()
    assert len(notarised.lines()) == len(lines) + 1
    assert (await notarised.verify()).well


async def test_retention_takes_the_beginning(notarised: Notarised) -> None:
    for _ in range(3):
        for _ in range(5):
            place = await result(notarised)
        await notarised.sign()
    notarised.history.remove_before(RESULTS, place.partition, 12)
    notarised.restart()
    await result(notarised)
    await notarised.sign()
    assert not notarised.notary.alarms
    told = await notarised.verify()
    (proven,) = told.proven
    assert told.well
    assert (proven.first, proven.end, proven.removed, proven.unproven) == (15, 16, 12, 3)


async def test_records_that_were_gone_before_they_were_signed(notarised: Notarised) -> None:
    for _ in range(5):
        place = await result(notarised)
    await notarised.sign()
    for _ in range(5):
        await result(notarised)
    notarised.history.remove_before(RESULTS, place.partition, 8)
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert f"{RESULTS}/{place.partition}: 5-7 were gone" in note
    told = await notarised.verify()
    (fault,) = told.faults
    assert (fault.kind, fault.first, fault.end, fault.between) == ("vanished", 5, 8, (1, 2))
    assert (told.proven[-1].first, told.proven[-1].end) == (8, 10)


async def test_a_log_that_ends_before_what_was_signed(notarised: Notarised) -> None:
    for _ in range(9):
        place = await result(notarised)
    await notarised.sign()
    del notarised.log.topics[RESULTS][place.partition][6:]
    notarised.restart()
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert f"{RESULTS}/{place.partition}: the log ends at 6" in note
    for _ in range(9):
        await result(notarised, b"other findings")
    await notarised.sign()
    notarised.restart()
    await notarised.sign()
    told = await notarised.verify()
    assert {(one.kind, one.first, one.end) for one in told.faults} == {
        ("shortened", 6, 9),
        ("changed", 0, 7),
        ("changed", 7, 9),
    } or {(one.kind, one.first, one.end) for one in told.faults} == {("shortened", 6, 9), ("changed", 0, 9)}
    assert (told.proven[-1].first, told.proven[-1].end) == (6, 15)


async def _edited_line(notarised: Notarised) -> None:
    notarised.file.write_bytes(notarised.file.read_bytes().replace(b'"partition":0', b'"partition":1', 1))


async def _lost_file(notarised: Notarised) -> None:
    notarised.file.unlink()


async def _lost_lines(notarised: Notarised) -> None:
    notarised.file.write_bytes(b"".join(line + b"\n" for line in notarised.lines()[:3]))


async def _strange_end(notarised: Notarised) -> None:
    notarised.file.write_bytes(notarised.file.read_bytes() + b"half a li")


async def _other_kafka(notarised: Notarised) -> None:
    notarised.log.create(CHECKPOINTS, partitions=1)


async def _shorter_topic(notarised: Notarised) -> None:
    del notarised.log.topics[CHECKPOINTS][0][-2:]


async def _another_key(notarised: Notarised) -> None:
    notarised.signer = Signer(Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    "change", [_edited_line, _lost_file, _lost_lines, _strange_end, _other_kafka, _shorter_topic, _another_key]
)
async def test_topic_and_file_disagree(notarised: Notarised, change: Any) -> None:
    """Nothing is signed, nothing is written; a person is told what to do."""
    await notarised.filled(random.Random(7), looks=3)
    await change(notarised)
    before, lines = on_topic(notarised), notarised.file.read_bytes() if notarised.file.exists() else None
    notarised.restart()
    await result(notarised)
    for _ in range(2):
        with pytest.raises(CheckpointsDisagree, match="bring it back from its copy"):
            await notarised.notary.look()
    assert on_topic(notarised) == before
    assert (notarised.file.read_bytes() if notarised.file.exists() else None) == lines


async def test_a_file_that_was_brought_back_is_enough(notarised: Notarised) -> None:
    await notarised.filled(random.Random(8), looks=2)
    notarised.file.rename(notarised.folder / "copy")
    notarised.restart()
    with pytest.raises(CheckpointsDisagree):
        await notarised.notary.look()
    (notarised.folder / "copy").rename(notarised.file)
    await result(notarised)
    await notarised.sign()
    assert (await notarised.verify()).well


async def test_a_new_series_under_a_new_key(notarised: Notarised) -> None:
    """When it cannot be mended; and whoever verifies has both keys and both files."""
    await notarised.filled(random.Random(9), looks=2)
    old, signer = notarised.folder / "old.jsonl", notarised.signer
    notarised.file.rename(old)
    notarised.signer = Signer(Ed25519PrivateKey.generate())
    notarised.restart()
    await notarised.filled(random.Random(10), looks=2)
    assert not notarised.notary.alarms
    one_key = await notarised.verify()
    assert not one_key.well and all("another key" in fault.line() for fault in one_key.faults)
    keys = [*notarised.signer.keys.items(), *signer.keys.items()]
    both = await verify(notarised.history, Sources([old, notarised.file]), dict(keys))
    assert both.well and both.checkpoints == len(on_topic(notarised))
    assert [fault.line() for fault in (await verify(notarised.history, Sources([notarised.file]), dict(keys))).faults] == [
        f"{notarised.file}: lacks checkpoints 1-{json.loads(old.read_bytes().splitlines()[-1])['number']}"
    ]


async def test_a_file_that_changes_under_its_hands(notarised: Notarised) -> None:
    await notarised.filled(random.Random(11), looks=2)
    notarised.file.write_bytes(notarised.file.read_bytes() + b"what is this?\n")
    await result(notarised)
    with pytest.raises(CheckpointFileChanged):
        await notarised.notary.look()


async def test_a_second_notary_elsewhere_does_not_begin(notarised: Notarised, tmp_path: Path) -> None:
    """On another machine, with the same key and a file of its own, where no lock can hold it back."""
    await notarised.filled(random.Random(14), looks=2)
    other = Notary(notarised.log, notarised.history, notarised.signer, CheckpointFile(tmp_path / "other.jsonl"), notarised.clock)
    await result(notarised)
    with pytest.raises(CheckpointsDisagree):
        await other.look()
    await notarised.sign()
    assert (await notarised.verify()).well


async def test_two_that_began_at_the_same_moment_fork_and_it_is_told(notarised: Notarised, tmp_path: Path) -> None:
    other = Notary(notarised.log, notarised.history, notarised.signer, CheckpointFile(tmp_path / "other.jsonl"), notarised.clock)
    assert not await other.look() and not await notarised.notary.look()
    await result(notarised)
    await notarised.notary.look()
    await other.look()
    await result(notarised)
    with pytest.raises(CheckpointsDisagree, match="two notaries"):
        await other.look()
    told = await notarised.verify()
    assert any("a second checkpoint 1" in fault.line() and "two notaries" in fault.line() for fault in told.faults)


async def test_what_others_write_to_the_topic_is_told_and_stops_nothing(notarised: Notarised) -> None:
    await notarised.filled(random.Random(12), looks=1)
    await notarised.log.append([Outgoing(CHECKPOINTS, b"x", b"made up")])
    await result(notarised)
    await notarised.sign()
    await result(notarised)
    await notarised.sign()
    (note,) = notarised.notary.notes.values()
    assert "did not sign" in note
    (fault,) = (await notarised.verify()).faults
    assert "is no checkpoint" in fault.line()


async def test_a_topic_that_is_missing_keeps_none_of_the_others_from_being_signed(notarised: Notarised) -> None:
    raw, partitions = topics.HL7_RAW.name, notarised.log.topics.pop(topics.HL7_RAW.name)
    await result(notarised)
    await notarised.sign()
    assert [json.loads(line)["topic"] for line in notarised.lines()] == [RESULTS]
    assert notarised.notary.alarms == {raw: f"{raw} is missing on the broker: nothing of it is signed"}
    notarised.log.topics[raw] = partitions
    await notarised.sign()
    assert not notarised.notary.alarms


async def test_what_disagrees_is_read_again_only_when_it_changed(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    await notarised.filled(random.Random(15), looks=2)
    whole = notarised.file.read_bytes()
    notarised.file.write_bytes(whole.split(b"\n", 1)[1])
    begun: list[str] = []

    async def counted(*arguments: Any) -> Any:
        begun.append("read")
        return await standing.begin(*arguments)

    monkeypatch.setattr(notary, "begin", counted)
    notarised.restart()
    for _ in range(3):
        with pytest.raises(CheckpointsDisagree, match="lacks checkpoints 1"):
            await notarised.notary.look()
    assert len(begun) == 1
    await notarised.log.append([Outgoing(CHECKPOINTS, b"x", b"made up")])
    with pytest.raises(CheckpointsDisagree):
        await notarised.notary.look()
    assert len(begun) == 2
    notarised.file.write_bytes(whole)
    await notarised.sign()
    assert len(begun) == 3


class Health:
    """Remembers every state; `reached` is set when one with that reason comes."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._told = asyncio.Condition()

    def set(self, state: str, reason: str = "", note: str = "") -> None:
        if not self.states or self.states[-1] != (state, reason):
            self.states.append((state, reason))
        if note not in ("", *self.notes[-1:]):
            self.notes.append(note)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._told:
            self._told.notify_all()

    async def until(self, state: str, reason: str = "") -> None:
        async with self._told:
            await asyncio.wait_for(
                self._told.wait_for(lambda: bool(self.states) and self.states[-1][0] == state and reason in self.states[-1][1]), 30
            )


@asynccontextmanager
async def running(notarised: Notarised, health: Health) -> Any:
    stop = asyncio.Event()
    task = asyncio.create_task(notarised.notary.run(stop, health, interval_s=0.01, retry_s=0.01))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_it_waits_for_the_broker_and_goes_on(notarised: Notarised) -> None:
    health = Health()
    async with running(notarised, health):
        await health.until("ready")
        notarised.log.away = True
        await health.until("paused", "broker")
        notarised.log.away = False
        await result(notarised)
        await health.until("ready")
    assert len(notarised.lines()) == 1


async def test_an_alarm_is_told_in_its_health_and_ends_when_it_is_mended(notarised: Notarised) -> None:
    await notarised.filled(random.Random(13), looks=2)
    notarised.file.rename(notarised.folder / "copy")
    notarised.restart()
    health = Health()
    async with running(notarised, health):
        await health.until("ready", "lacks checkpoints")
        (notarised.folder / "copy").rename(notarised.file)
        await asyncio.wait_for(_no_reason(health), 30)
    assert health.states[-1] == ("ready", "")
    assert (await notarised.verify()).well


async def _no_reason(health: Health) -> None:
    while health.states[-1] != ("ready", ""):
        await health.until("ready")


async def test_a_second_one_on_this_machine_waits_and_takes_over(notarised: Notarised) -> None:
    first, second = Health(), Health()
    stop = asyncio.Event()
    async with running(notarised, first):
        await first.until("ready")
        other = Notary(notarised.log, notarised.history, notarised.signer, CheckpointFile(notarised.file), notarised.clock)
        task = asyncio.create_task(other.run(stop, second, interval_s=0.01))
        await second.until("ready")
        assert "another notary" in second.notes[-1]
        await result(notarised)
        await anext(notarised.log.read(CHECKPOINTS, follow=True))
    assert (await notarised.verify()).well
    await asyncio.wait_for(_no_reason(second), 30)
    await result(notarised)
    written = notarised.log.read(CHECKPOINTS, follow=True)
    assert [json.loads((await anext(written)).value)["end"] for _ in range(2)] == [1, 2]
    stop.set()
    await task
    assert (await notarised.verify()).well
