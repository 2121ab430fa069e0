"""What cannot be read of one partition keeps nothing else from being signed."""

from __future__ import annotations

import asyncio
import errno
import fcntl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, InvalidResource, RadstreamError, StoreUnavailable
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams import topics
from streams.audit import checkpoint_file, standing
from streams.audit.checkpoint_file import CheckpointFile
from streams.audit.notary import NOTARISED
from tests.contract.fake_history import FakeHistory
from tests.unit.notarised import CHECKPOINTS, Notarised

RAW = topics.HL7_RAW.name


class Poisoned(FakeHistory):
    """Records whose value is BAD cannot be read; neither can topics in `leaderless`."""

    def __init__(self, of: Notarised, error: RadstreamError) -> None:
        super().__init__(of.log)
        self.error, self.leaderless = error, ""

    async def spans(self, topic: str) -> Sequence[Span]:
        if topic == self.leaderless:
            raise BrokerUnavailable("history", topic, "KafkaTimeoutError")
        return await super().spans(topic)

    async def records(self, span: Span) -> AsyncIterator[Record]:
        async for record in super().records(span):
            if record.value == b"BAD":
                raise self.error
            yield record


@pytest.fixture
def notarised(tmp_path: Path) -> Notarised:
    return Notarised(tmp_path)


async def filled(notarised: Notarised, bad: str) -> None:
    for topic in NOTARISED:
        values = (b"1", b"2", b"BAD", b"3") if topic.name == bad else (b"1", b"2", b"3")
        await notarised.log.append([Outgoing(topic.name, b"k", value) for value in values])


async def ends(notarised: Notarised) -> dict[str, int]:
    told = await notarised.verify()
    assert told.well, told.faults
    return {one.topic: one.end for one in told.proven}


@pytest.mark.parametrize(
    "error",
    [InvalidResource("history", "t/0/2", "a header name is not UTF-8"), BrokerUnavailable("history", "t/0", "UnsupportedCodec")],
)
@pytest.mark.parametrize("bad", [NOTARISED[0].name, NOTARISED[-1].name])
async def test_a_record_that_cannot_be_read(notarised: Notarised, error: RadstreamError, bad: str) -> None:
    await filled(notarised, bad)
    notarised.history = history = Poisoned(notarised, error)
    notarised.restart()
    for _ in range(2):
        assert not await notarised.notary.look(), "it is not asked for again at once"
    assert await ends(notarised) == {topic.name: 2 if topic.name == bad else 3 for topic in NOTARISED}
    (alarm,) = notarised.notary.alarms.values()
    assert alarm.startswith(f"{bad}/") and "from 2 on" in alarm and error.reason in alarm
    assert len(notarised.log.records(CHECKPOINTS)) == len(NOTARISED), "nothing is signed twice"
    await notarised.log.append([Outgoing(topic.name, b"k", b"4") for topic in NOTARISED])
    await notarised.sign()
    assert await ends(notarised) == {topic.name: 2 if topic.name == bad else 4 for topic in NOTARISED}
    history.remove_before(bad, next(one.partition for one in (await notarised.verify()).proven if one.topic == bad), 3)
    await notarised.sign()
    assert not notarised.notary.alarms and "2-2 were gone" in "".join(notarised.notary.notes.values())


async def test_a_partition_without_a_leader(notarised: Notarised, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "AGAIN_AFTER", 10)
    await filled(notarised, "")
    notarised.history = history = Poisoned(notarised, InvalidResource("history", "t/0", "never"))
    notarised.restart()
    await notarised.sign()
    history.leaderless = RAW
    for _ in range(30):
        await notarised.log.append([Outgoing(topics.RESULTS.name, b"k", b"more")])
        await notarised.sign()
    assert list(notarised.notary.alarms) == [RAW]
    begun = await standing.begin(history, CheckpointFile(notarised.file), notarised.signer, tail=22)
    assert RAW in {topic for topic, _ in begun.standing.chains}, "a start with few checkpoints knows where it stood"
    history.leaderless = ""
    await notarised.log.append([Outgoing(RAW, b"k", b"4")])
    await notarised.sign()
    assert not notarised.notary.alarms and (await ends(notarised))[RAW] == 4


async def test_a_broker_that_is_away_is_no_alarm(notarised: Notarised) -> None:
    class Away(Poisoned):
        async def records(self, span: Span) -> AsyncIterator[Record]:
            if span.topic == topics.DELIVERIES.name and not self.leaderless:
                notarised.log.away = True
                raise BrokerUnavailable("history", str(span), "the broker is away")
            async for record in super().records(span):
                yield record

    await filled(notarised, "")
    notarised.history = history = Away(notarised, InvalidResource("history", "t/0", "never"))
    notarised.restart()
    with pytest.raises(BrokerUnavailable):
        await notarised.notary.look()
    assert not notarised.notary.alarms
    history.leaderless, notarised.log.away = "it is back", False
    await notarised.sign()
    assert set((await ends(notarised)).values()) == {3}


async def test_its_first_look_keeps_nobody_waiting(notarised: Notarised) -> None:
    seen: list[tuple[str, str]] = []
    stop = asyncio.Event()

    class Looked(FakeHistory):
        async def spans(self, topic: str) -> Sequence[Span]:
            assert seen == [("ready", "it reads its checkpoints")]
            stop.set()
            return await super().spans(topic)

    class Health:
        def set(self, state: str, reason: str = "", note: str = "") -> None:
            seen.append((state, note))

    notarised.history = Looked(notarised.log)
    notarised.restart()
    await notarised.notary.run(stop, Health(), interval_s=0.01)
    assert seen[-1] == ("ready", "")


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert checkpoint_file.fcntl is fcntl
    with pytest.raises(StoreUnavailable, match="No locks available"), CheckpointFile(tmp_path / "c.jsonl").held():
        pass
