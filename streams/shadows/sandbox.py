"""A sandbox: topics of its own, named after the real ones, and a log that can write to these alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace

from schemas.model_events import SandboxName
from schemas.ports import EventLog, Outgoing, Place, Record
from streams import topics
from streams.topics import Topic


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`sandbox.<name>.*`. `kinds`: of the topics that the steps in it write to; `partitions`: of each, None: as many as the real
    one has."""

    name: SandboxName
    kinds: tuple[Topic, ...] = (topics.RESULTS, topics.DEAD_LETTERS)
    partitions: int | None = None

    @property
    def key(self) -> str:
        """On `radstream.models`."""
        return f"{topics.SANDBOX}.{self.name}"

    @property
    def results(self) -> Topic:
        return self.own(topics.RESULTS)

    @property
    def dead_letters(self) -> Topic:
        return self.own(topics.DEAD_LETTERS)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All that is ever written to."""
        return tuple(self.own(topic) for topic in self.kinds)

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Which of these topics are under its name, and another's that has the same one: a replay's, say."""
        own = {topic.name for topic in self.topics}
        return [name for name in names if name.startswith(f"{self.key}.") and name not in own]

    def own(self, topic: Topic) -> Topic:
        """The sandbox's own in the place of a real one."""
        return replace(topic, name=f"{self.key}.{topic.name}", partitions=self.partitions or topic.partitions)


class SandboxLog:
    """`EventLog` that appends to the topics of one sandbox and to no other: whatever a step or its guard does, an effect elsewhere
    is not possible. A dead letter goes to the sandbox's own; `read` reads anything."""

    def __init__(self, log: EventLog, sandbox: Sandbox) -> None:
        self._log = log
        self._own = frozenset(topic.name for topic in sandbox.topics)
        self._dead_letters = sandbox.dead_letters.name

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        """See EventLog. Raises ValueError for a topic that is none of the sandbox's: then nothing is written."""
        return await self._log.append([self._inside(record) for record in records])

    def read(self, topic: str, *, follow: bool = False, last: int | None = None) -> AsyncIterator[Record]:
        return self._log.read(topic, follow=follow, last=last)

    def _inside(self, record: Outgoing) -> Outgoing:
        if record.topic == topics.DEAD_LETTERS.name:
            record = replace(record, topic=self._dead_letters)
        if record.topic not in self._own:
            raise ValueError(f"{record.topic} is outside the sandbox")
        return record
