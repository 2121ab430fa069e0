"""What the steps of a replay write: in order, on the topics of its sandbox, and each record once.

Each topic has one partition, so the place of a record is known before it is written: it is how many were put before. So many are
written in one go; and a run that was killed goes on from its snapshot, and what stands behind that is compared, not repeated."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from schemas.errors import BrokerUnavailable, Rejected
from schemas.history import History, Span
from schemas.ports import EventLog, Headers, Outgoing, Place
from streams import topics
from streams.shadows.sandbox import Sandbox
from streams.topics import Topic

#: all that the steps of a replay write
KINDS: tuple[Topic, ...] = (
    topics.ORDERS,
    topics.REPORTS,
    topics.PATIENTS,
    topics.NOTICES,
    topics.REQUESTS,
    topics.REQUESTS_STAT,
    topics.REQUESTS_BULK,
    topics.RESULTS,
    topics.FINDINGS,
    topics.DISCREPANCIES,
    topics.DEAD_LETTERS,
)

#: written in one go: few enough that the broker answers within the time limit of an append
_RECORDS, _BYTES = 500, 1024 * 1024

Wait = Callable[[BrokerUnavailable], Awaitable[None]]
"""Returns when it is time to try again; raises when nobody wants to wait any longer."""


def sandbox_of(name: str) -> Sandbox:
    """Of a replay."""
    return Sandbox(name, KINDS, partitions=1)


class Outbox:
    """`log` can write to the topics of `sandbox` alone. `put`: how many were put on each topic before, `ends`: where each ended
    when they had been written (both empty: a new sandbox). `records`: so many are written in one go."""

    def __init__(
        self,
        log: EventLog,
        history: History,
        sandbox: Sandbox,
        wait: Wait,
        put: Mapping[str, int] | None = None,
        ends: Mapping[str, int] | None = None,
        *,
        records: int = _RECORDS,
    ) -> None:
        self._log = log
        self._history = history
        self._names = {kind.name: sandbox.own(kind).name for kind in sandbox.kinds}
        self._wait = wait
        self._records = records
        self.put_so_far = dict.fromkeys(self._names.values(), 0) | dict(put or {})
        self._ends = dict.fromkeys(self._names.values(), 0) | dict(ends or {})
        #: what was found behind them and is not said by this run yet, with its offsets
        self._standing: dict[str, deque[tuple[bytes, int]]] = {}
        self._waiting: list[Outgoing] = []
        self._bytes = 0

    async def begin(self) -> None:
        """Looks at what a run that was killed has left. Raises BrokerUnavailable."""
        for topic in self._names.values():
            await self._look(topic)

    def put(self, outputs: Iterable[Outgoing]) -> list[tuple[Outgoing, Place]]:
        """Each under the name that its topic has in the sandbox, and where it is going to stand. Raises ValueError for a topic that
        no step of a replay writes to."""
        placed = []
        for out in outputs:
            name = self._names.get(out.topic)
            if name is None:
                raise ValueError(f"{out.topic} has no twin in the sandbox")
            placed.append((replace(out, topic=name), Place(name, 0, self.put_so_far[name])))
            self.put_so_far[name] += 1
            self._bytes += len(out.value)
        self._waiting += [out for out, _ in placed]
        return placed

    @property
    def ends(self) -> Mapping[str, int]:
        """Of each topic, behind what this run has said: of what it has put, once that is flushed."""
        return {topic: self._standing[topic][0][1] if self._standing.get(topic) else end for topic, end in self._ends.items()}

    @property
    def found(self) -> bool:
        """Whether something stands in the sandbox that this run has not said yet."""
        return any(self._standing.values())

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._records or self._bytes >= _BYTES

    async def flush(self) -> None:
        """Everything that was put is on the log when it returns. Raises Rejected: what stands there is not what this run says, or a
        record is too large; and as `wait`."""
        while self._waiting:
            try:
                new = self._without_standing()
                for place in await self._log.append(new) if new else ():
                    self._ends[place.topic] = max(self._ends[place.topic], place.offset + 1)
                self._waiting, self._bytes = [], 0
            except BrokerUnavailable as error:  # some of it may have been written all the same
                await self._wait(error)
                await self._looked_again({out.topic for out in self._waiting})

    async def _looked_again(self, names: Iterable[str]) -> None:
        for name in names:
            while True:
                try:
                    await self._look(name)
                    break
                except BrokerUnavailable as error:
                    await self._wait(error)

    async def _look(self, topic: str) -> None:
        (span,) = await self._history.spans(topic)
        if span.end < self._ends[topic]:
            raise Rejected("replay", topic, "what was written here is gone: begin a replay of another name")
        found: dict[bytes, int] = {}
        async for record in self._history.records(Span(topic, 0, self._ends[topic], span.end)):
            # an append that the client tried again may have written a record twice
            found.setdefault(_digest(record.key, record.value, record.headers), record.place.offset)
        self._standing[topic], self._ends[topic] = deque(found.items()), span.end

    def _without_standing(self) -> Sequence[Outgoing]:
        new = []
        for out in self._waiting:
            standing = self._standing.get(out.topic)
            if not standing:
                new.append(out)
            elif standing.popleft()[0] != _digest(out.key, out.value, out.headers):
                said = "what an interrupted run wrote here is not what this one says: begin a replay of another name"
                raise Rejected("replay", out.topic, said)
        self._waiting = new
        return new


def _digest(key: bytes | None, value: bytes, headers: Headers) -> bytes:
    told = hashlib.sha256()
    for part in (key or b"", value, *(part for name, value in headers for part in (name.encode(), value))):
        told.update(len(part).to_bytes(4, "big"))
        told.update(part)
    return told.digest()
