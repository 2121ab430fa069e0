"""A notary that is killed, a broker that does not confirm, a full disk: topic and file come to the same again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import BrokerUnavailable, StoreUnavailable
from schemas.ports import Outgoing, Place
from streams.audit.checkpoint_file import CheckpointFile
from tests.unit.notarised import CHECKPOINTS, Notarised, on_topic, result


class Killed(BaseException):
    """kill -9."""


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


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
