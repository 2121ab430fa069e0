"""What a replay writes goes into its sandbox, or nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from schemas.errors import ObjectStoreUnavailable, Rejected
from schemas.history import Span
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.replay.outbox import KINDS, Outbox
from streams.replay.running import waiting
from streams.shadows.sandbox import SandboxLog
from streams.topics import plain_name
from tests.contract.fake_history import FakeHistory
from tests.unit.replayed_day import SANDBOX, Broker


def outbox_of(broker: Broker) -> Outbox:
    return Outbox(SandboxLog(broker, SANDBOX), FakeHistory(broker), SANDBOX, waiting(asyncio.Event(), 0.01))


@pytest.mark.parametrize("topic", [topic for topic in topics.ALL if topic not in KINDS], ids=lambda topic: topic.name)
async def test_what_no_step_of_a_replay_writes_is_refused(topic: topics.Topic) -> None:
    broker = Broker()
    with pytest.raises(ValueError, match="no twin"):
        outbox_of(broker).put([Outgoing(topic.name, b"k", b"v")])
    with pytest.raises(ValueError, match="outside the sandbox"):
        await SandboxLog(broker, SANDBOX).append([Outgoing(topic.name, b"k", b"v")])
    assert not broker.records(topic.name)


@pytest.mark.parametrize("topic", KINDS, ids=lambda topic: topic.name)
async def test_what_a_step_writes_stands_in_the_sandbox_where_it_was_said_to(topic: topics.Topic) -> None:
    broker = Broker()
    outbox = outbox_of(broker)
    await outbox.begin()
    placed = outbox.put([Outgoing(topic.name, b"k", b"1", (("a", b"b"),)), Outgoing(topic.name, b"other", b"2")])
    assert not any(broker.said().values()), "not before it is flushed"
    await outbox.flush()
    own = f"sandbox.again.{topic.name}"
    assert [place for _, place in placed] == [Place(own, 0, 0), Place(own, 0, 1)]
    assert [record.place for record in broker.records(own)] == [Place(own, 0, 0), Place(own, 0, 1)]
    assert broker.records(own)[0].headers == (("a", b"b"),)
    assert not broker.records(topic.name)
    assert outbox.put_so_far[own] == 2


TWICE = [
    Outgoing(topics.RESULTS.name, b"k", b"marked", (("ce_id", b"x"),)),
    Outgoing(topics.RESULTS.name, b"k", b"marked", (("ce_id", b"x"),)),
    Outgoing(topics.RESULTS.name, b"k", b"other"),
]


@pytest.mark.parametrize("written", [1, 2, 3])
async def test_what_is_said_twice_on_purpose_is_there_twice_also_of_a_run_that_goes_on(written: int) -> None:
    broker = Broker()
    before = outbox_of(broker)
    before.put(TWICE[:written])
    await before.flush()
    outbox = outbox_of(broker)
    await outbox.begin()
    outbox.put(TWICE)
    await outbox.flush()
    assert [record.value for record in broker.records(SANDBOX.results.name)] == [b"marked", b"marked", b"other"]


async def test_a_client_that_wrote_a_record_twice_ends_it() -> None:
    """For what was said of its place is not true any more."""

    class Repeating(Broker):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            await super().append(records[:1])
            return await super().append(records)

    outbox = outbox_of(Repeating())
    outbox.put(TWICE)
    with pytest.raises(Rejected, match="written twice: begin a replay of another name"):
        await outbox.flush()


async def test_an_object_store_that_is_away_is_waited_for() -> None:
    class Away(FakeHistory):
        looks = 0

        async def records(self, span: Span) -> AsyncIterator[Record]:
            self.looks += 1
            if self.looks < 3:
                raise ObjectStoreUnavailable("history", span.topic, "away")
            async for record in super().records(span):
                yield record

    class AwayAtFirst(Broker):
        async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
            self.away = self.appends == 0
            try:
                return await super().append(records)
            finally:
                self.away = False

    broker = AwayAtFirst()
    outbox = Outbox(SandboxLog(broker, SANDBOX), Away(broker), SANDBOX, waiting(asyncio.Event(), 0.01))
    outbox.put(TWICE)
    await outbox.flush()
    assert [record.value for record in broker.records(SANDBOX.results.name)] == [b"marked", b"marked", b"other"]


def test_plain_names() -> None:
    assert [plain_name(topic.name) for topic in SANDBOX.topics] == [topic.name for topic in KINDS]
    assert [plain_name(topic.name) for topic in topics.ALL] == [topic.name for topic in topics.ALL]


async def test_a_topic_of_several_partitions_is_somebody_elses() -> None:
    """Of a shadow of the same name."""
    broker = Broker()
    broker.create(SANDBOX.results.name, 4)
    with pytest.raises(Rejected, match="has 4 partitions, so it is of somebody else"):
        await outbox_of(broker).begin()
