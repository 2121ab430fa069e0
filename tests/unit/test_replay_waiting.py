"""When the broker is away a replay waits, for what it reads as for what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import ArchiveUnavailable, BrokerUnavailable, ObjectStoreUnavailable, TopicMissing, Unavailable
from schemas.history import Span
from schemas.ports import Outgoing, Record
from streams import topics
from streams.replay.cascade import Part as Step
from streams.replay.cascade import StopAsked
from streams.replay.plan import Part, Plan
from streams.replay.running import patient, waiting
from streams.replay.selection import Selection
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.replayed_day import REQUESTS, Broker, Replay, completed

TOPIC = topics.HL7_RAW.name


class Shaky(FakeHistory):
    """Whose broker or object store goes away at every seventh record."""

    read = 0
    kind: type[Unavailable] = BrokerUnavailable

    async def records(self, span: Span) -> AsyncIterator[Record]:
        async for record in super().records(span):
            self.read += 1
            if not self.read % 7:
                raise self.kind("history", span.topic, "gone")
            yield record


async def planned() -> tuple[FakeEventLog, Plan]:
    log = FakeEventLog(TOPIC)
    await log.append([Outgoing(TOPIC, str(number % 7).encode(), str(number).encode()) for number in range(20)])
    spans = tuple(span for span in await FakeHistory(log).spans(TOPIC) if len(span))
    return log, Plan(
        selection=Selection(patients=("4711^HOSPITAL",)), parts=(Part(topic=TOPIC, spans=spans, records=20, bytes=20),)
    )


@pytest.mark.parametrize("kind", [BrokerUnavailable, ObjectStoreUnavailable])
async def test_inputs_come_once_and_in_order_however_often_the_broker_is_away(kind: type[Unavailable]) -> None:
    """Or the object store, where the older ones are."""
    log, plan = await planned()
    shaky = Shaky(log)
    shaky.kind = kind
    whole = [record async for record in plan.inputs(FakeHistory(log))]
    done = {(whole[0].place.topic, whole[0].place.partition): whole[0].place.offset + 1}
    left = patient(partial(plan.inputs, shaky), done, waiting(asyncio.Event(), 0.001))
    assert [record async for record in left] == whole[1:]
    assert done == {(TOPIC, whole[0].place.partition): 1}, "whose it is"


async def test_a_stop_is_heard_while_it_waits() -> None:
    log, plan = await planned()
    log.away = True
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(StopAsked):
        await anext(patient(partial(plan.inputs, FakeHistory(log)), {}, waiting(stop, 60.0)))


async def test_a_pause_is_heard_while_the_archive_is_away(tmp_path: Path) -> None:
    async def away(record: Record) -> Sequence[Outgoing]:
        replay.pause_is_asked = True
        raise ArchiveUnavailable("archive", "study 1", "away")

    replay = Replay(
        Broker(), tmp_path / "one", [completed(1, None, 0), completed(2, None, 9)], analyse=Step("analyse", away, REQUESTS)
    )
    async with asyncio.timeout(30):
        assert not await replay.run()


async def test_a_topic_that_is_gone_is_not_waited_for() -> None:
    log, plan = await planned()
    del log.topics[TOPIC]
    with pytest.raises(TopicMissing):
        await anext(patient(partial(plan.inputs, FakeHistory(log)), {}, waiting(asyncio.Event(), 60.0)))
