"""Nothing that runs in a sandbox can write outside it."""

from __future__ import annotations

import pytest

from schemas.ports import Outgoing
from streams import topics
from streams.shadows.sandbox import Sandbox, SandboxLog
from tests.contract.fake_event_log import FakeEventLog

SANDBOX = Sandbox("next")


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog(
        *(topic.name for topic in topics.ALL), *(topic.name for topic in SANDBOX.topics), "sandbox.other.ai.results"
    )


def test_names_and_shape_of_its_topics() -> None:
    assert [topic.name for topic in SANDBOX.topics] == ["sandbox.next.ai.results", "sandbox.next.radstream.dead-letters"]
    assert SANDBOX.results.partitions == topics.RESULTS.partitions
    assert SANDBOX.dead_letters.config == topics.DEAD_LETTERS.config, "a dead letter is larger than what it was made of"


@pytest.mark.parametrize("topic", [one.name for one in topics.ALL if one is not topics.DEAD_LETTERS] + ["sandbox.other.ai.results"])
async def test_outside_is_refused_and_nothing_of_the_list_is_written(log: FakeEventLog, topic: str) -> None:
    with pytest.raises(ValueError, match="outside the sandbox"):
        await SandboxLog(log, SANDBOX).append([Outgoing(SANDBOX.results.name, b"k", b"inside"), Outgoing(topic, b"k", b"outside")])
    assert log.records(SANDBOX.results.name) == []
    assert log.records(topic) == []


async def test_its_own_topics_are_written_and_a_dead_letter_is_its_own(log: FakeEventLog) -> None:
    sandboxed = SandboxLog(log, SANDBOX)
    letter = Outgoing(topics.DEAD_LETTERS.name, b"k", b"letter", (("step", b"analyse"),))
    places = await sandboxed.append([Outgoing(SANDBOX.results.name, b"k", b"said"), letter])
    assert [place.topic for place in places] == [SANDBOX.results.name, SANDBOX.dead_letters.name]
    assert log.records(topics.DEAD_LETTERS.name) == []
    (kept,) = log.records(SANDBOX.dead_letters.name)
    assert (kept.key, kept.value, kept.headers) == (letter.key, letter.value, letter.headers)


async def test_everything_is_read(log: FakeEventLog) -> None:
    await log.append([Outgoing(topics.REQUESTS.name, b"k", b"asked")])
    assert [record.value async for record in SandboxLog(log, SANDBOX).read(topics.REQUESTS.name)] == [b"asked"]
