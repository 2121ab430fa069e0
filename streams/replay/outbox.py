"""What the steps of a replay write: in order, on the topics of its sandbox, and each record once.

Each topic has one partition, so the place of a record is known before it is written: it is how many were put before. So many are
written in one go; and a run that was killed goes on from its snapshot, and what stands behind that is compared, not repeated: the
n-th record that is put with the n-th that stands there, for the steps say the same thing twice where a sender does."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from schemas.errors import Rejected, Unavailable
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

#: what a person can do
_AGAIN = "begin a replay of another name"

Wait = Callable[[Unavailable], Awaitable[None]]
"""Returns when it is time to try again; raises when nobody wants to wait any longer."""


def sandbox_of(name: str) -> Sandbox:
    """Of a replay."""
    return Sandbox(name, KINDS, partitions=1)


class Outbox:
    """`log` can write to the topics of `sandbox` alone. `put`: how many were put on each topic, and written, before (empty: a new
    sandbox). `records`: so many are written in one go."""

    def __init__(
        self,
        log: EventLog,
        history: History,
        sandbox: Sandbox,
        wait: Wait,
        put: Mapping[str, int] | None = None,
        *,
        records: int = _RECORDS,
    ) -> None:
        self._log = log
        self._history = history
        self._names = {kind.name: sandbox.own(kind).name for kind in sandbox.kinds}
        self._wait = wait
        self._records = records
        self.put_so_far = dict.fromkeys(self._names.values(), 0) | dict(put or {})
        #: of each topic, how many of these are known to be on the log: the offset behind them
        self._written = dict(self.put_so_far)
        #: what was found behind them and is not said by this run yet
        self._standing: dict[str, deque[bytes]] = {}
        self._waiting: list[Outgoing] = []
        self._bytes = 0

    async def begin(self) -> None:
        """Looks at what a run that was killed has left. Raises BrokerUnavailable, ObjectStoreUnavailable."""
        await asyncio.gather(*map(self._look, self._names.values()))

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
    def found(self) -> bool:
        """Whether something stands in the sandbox that this run has not said yet."""
        return any(self._standing.values())

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self._records or self._bytes >= _BYTES

    async def flush(self) -> None:
        """Everything that was put is on the log, at its place, when it returns. Raises Rejected: what stands there is not what this
        run says, or a record is too large; and as `wait`."""
        while self._waiting:
            try:
                self._waiting = self._without_standing()
                if self._waiting:
                    self._check(await self._log.append(self._waiting))
                self._waiting, self._bytes = [], 0
            except Unavailable as error:  # some of it may have been written all the same
                await self._wait(error)
                await self._looked_again({out.topic for out in self._waiting})

    def _check(self, places: Sequence[Place]) -> None:
        """A client that tries again by itself may write a record twice: then those behind it name causes that stand elsewhere."""
        for place in places:
            promised = self._written[place.topic]
            if place.offset != promised:
                said = f"a record stands at {place.offset} and not at {promised}, for something was written twice: {_AGAIN}"
                raise Rejected("replay", place.topic, said)
            self._written[place.topic] += 1

    async def _looked_again(self, names: Iterable[str]) -> None:
        for name in names:
            while True:
                try:
                    await self._look(name)
                    break
                except Unavailable as error:
                    await self._wait(error)

    async def _look(self, topic: str) -> None:
        span, *others = await self._history.spans(topic)
        if others:
            raise Rejected("replay", topic, f"has {1 + len(others)} partitions, so it is of somebody else: {_AGAIN}")
        written = self._written[topic]
        if span.end < written:
            raise Rejected("replay", topic, f"what was written here is gone: {_AGAIN}")
        found = deque[bytes]()
        async for record in self._history.records(Span(topic, 0, written, span.end)):
            found.append(_digest(record.key, record.value, record.headers))
        self._standing[topic] = found

    def _without_standing(self) -> list[Outgoing]:
        new = []
        for out in self._waiting:
            standing = self._standing.get(out.topic)
            if not standing:
                new.append(out)
            elif standing.popleft() == _digest(out.key, out.value, out.headers):
                self._written[out.topic] += 1
            else:
                said = (
                    f"what stands here is not what this run says (written by an interrupted one, or twice by the client): {_AGAIN}"
                )
                raise Rejected("replay", out.topic, said)
        return new


def _digest(key: bytes | None, value: bytes, headers: Headers) -> bytes:
    told = hashlib.sha256()
    for part in (key or b"", value, *(part for name, value in headers for part in (name.encode(), value))):
        told.update(len(part).to_bytes(4, "big"))
        told.update(part)
    return told.digest()
