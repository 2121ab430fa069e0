"""Topic and file disagree, or two notaries do: nothing is signed until a person has brought back what is lacking."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.ports import Outgoing
from streams.audit import notary, standing
from streams.audit.checkpoint_file import CheckpointFile, CheckpointFileChanged
from streams.audit.notary import Notary
from streams.audit.signing import Signer
from streams.audit.standing import CheckpointsDisagree
from streams.audit.verified import Sources, verify
from tests.unit.notarised import CHECKPOINTS, Notarised, on_topic, result


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


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
