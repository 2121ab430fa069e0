"""Long steps: a bounded window of records in flight over an aiokafka consumer (rule 7).

Steps that take seconds run side by side, and only the contiguous low-water mark of each partition is committed. The first
of several topics is the urgent one (STAT): it is started first and has slots of its own. The last of three or more (bulk) is
started when nothing else waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from connectors.kafka_records import record_of, stop_consumer
from schemas.errors import BrokerUnavailable
from streams.beginning import OpenPositions, begin_now
from streams.guard import Guard, Outcome, StepStopped
from streams.runner import HEARTBEAT_S, LONGEST_PAUSE_S, SESSION_TIMEOUT_S, group_of
from streams.topics import LARGEST_RECORD
from streams.window import Ticket, Window

logger = structlog.get_logger()

_POLL_MS = 200
_COMMIT_INTERVAL_S = 0.5
_COMMIT_TIMEOUT_S = 5.0
#: A rebalance waits so long for records in flight; then they are cancelled, and repeated by whoever gets the partition.
_REVOKE_GRACE_S = 10.0
_REBALANCE_TIMEOUT_S = 30.0
#: First join after a broker's start: "coordinator load in progress" for seconds.
_START_TRIES, _START_PAUSE_S = 10, 1.0


class WindowRunner:
    """A Runner. `size`: records in flight; `reserved`: how many of them are of the first topic of several; `instance`: a
    name that this process keeps over restarts and shares with no other, so that a restart is no rebalance; `drain_s`: how
    long, in seconds, records in flight may go on after stop was asked; `from_now`: a new group begins with what comes next, and
    not with what the topics hold; `begun`: opens what remembers that it has, longer than Kafka does."""

    def __init__(
        self,
        bootstrap: str,
        step: str,
        *,
        size: int = 4,
        reserved: int = 1,
        instance: str | None = None,
        drain_s: float = 10.0,
        from_now: bool = False,
        begun: OpenPositions | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._size = size
        self._reserved = reserved
        self._instance = instance
        self._drain_s = drain_s
        self._from_now = from_now
        self._begun = begun
        self.group = group_of(step)

    async def run(self, topics: Sequence[str], guard: Guard, stop: asyncio.Event) -> None:
        """See Runner. Raises StoreUnavailable too, of what remembers."""
        first = topics[0] if len(topics) > 1 else None
        last = topics[-1] if len(topics) > 2 else None
        reserved = min(self._reserved, self._size - 1) if first else 0
        window = Window(self._size, first=first, reserved=reserved, last=last)
        if self._from_now:  # committed before the first fetch: what comes while it is away is not missed
            await begin_now(self._bootstrap, self.group, topics, self._begun)
        consumer = await self._consumer()
        run = _Run(consumer, window, guard)
        try:
            consumer.subscribe(list(topics), listener=run)
            await run.until(stop)
        except KafkaError as error:
            raise BrokerUnavailable("consume", self.group, type(error).__name__) from None
        finally:
            try:
                await run.drain(self._drain_s)
            finally:
                await stop_consumer(consumer)
        if run.failure is not None:
            raise run.failure

    async def _consumer(self) -> AIOKafkaConsumer:
        for left in reversed(range(_START_TRIES)):
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                group_id=self.group,
                group_instance_id=self._instance,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=LARGEST_RECORD,
                session_timeout_ms=int(SESSION_TIMEOUT_S * 1000),
                heartbeat_interval_ms=int(HEARTBEAT_S * 1000),
                rebalance_timeout_ms=int(_REBALANCE_TIMEOUT_S * 1000),
                max_poll_interval_ms=int(LONGEST_PAUSE_S * 1000),
            )
            try:
                await consumer.start()
            except KafkaError as error:
                await stop_consumer(consumer)
                if left == 0 or not error.retriable:
                    raise BrokerUnavailable("consume", self.group, type(error).__name__) from None
                await asyncio.sleep(_START_PAUSE_S)
            else:
                return consumer
        raise AssertionError("unreachable")


class _Run(ConsumerRebalanceListener):  # type: ignore[misc]
    """One run: the consumer, its window, the tasks in flight."""

    def __init__(self, consumer: AIOKafkaConsumer, window: Window, guard: Guard) -> None:
        self.failure: StepStopped | None = None
        self._consumer = consumer
        self._window = window
        self._guard = guard
        self._tasks: dict[asyncio.Task[None], Ticket] = {}
        self._ending = False
        self._changed = asyncio.Event()

    async def until(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._changed.set())
        committing = asyncio.create_task(self._commit_regularly())
        try:
            while not stop.is_set() and self.failure is None:
                await self._fetch()
        finally:
            self._ending = True
            for task in (stopping, committing):
                task.cancel()
            await asyncio.wait([stopping, committing])

    async def _fetch(self) -> None:
        self._changed.clear()
        assigned = self._consumer.assignment()
        wanted = [partition for partition in assigned if self._window.wants(partition.topic)]
        if assigned and not wanted:
            await self._changed.wait()
            return
        try:
            batches = await self._consumer.getmany(*wanted, timeout_ms=_POLL_MS, max_records=32)
        except IllegalStateError:  # revoked between the two lines
            return
        for messages in batches.values():
            for message in messages:
                self._window.admit(record_of(message))
        self._start()

    def _start(self) -> None:
        while not self._ending and self.failure is None and (ticket := self._window.start()) is not None:
            task = asyncio.create_task(self._work(ticket))
            self._tasks[task] = ticket
            task.add_done_callback(self._ended)

    async def _work(self, ticket: Ticket) -> None:
        finished = False
        try:
            finished = await self._guard(ticket.record) is not Outcome.UNFINISHED
        except StepStopped as error:
            self.failure = error
        finally:
            if finished:
                self._window.finish(ticket)
            else:
                self._window.abandon(ticket)

    def _ended(self, task: asyncio.Task[None]) -> None:
        ticket = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # not even the guard knew what to do
            self.failure = StepStopped(self._guard.name, str(ticket.record.place), type(error).__name__)
        self._changed.set()
        self._start()

    async def drain(self, seconds: float) -> None:
        """Let what is in flight end, then commit what is finished. What is not is repeated after the next start."""
        self._ending = True
        self._window.drop_waiting()
        await _ended_or_cancelled(list(self._tasks), seconds)
        await self._commit()

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            await self._commit()

    async def _commit(self) -> None:
        """A commit that fails is no loss: the same or a higher mark is committed later, or the records are repeated."""
        assigned = self._consumer.assignment()
        marks = {one: mark for one, mark in self._window.marks().items() if TopicPartition(*one) in assigned}
        if not marks:
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await self._consumer.commit({TopicPartition(*one): mark for one, mark in marks.items()})
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            logger.warning("not committed", step=self._guard.name, error=type(error).__name__)
        else:
            self._window.committed(marks)

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Before the partitions go elsewhere: what has not started is dropped; what has may end and is committed, or is cancelled:
        it must tell nobody an old state after whoever has the partition then has told a later one."""
        partitions = {(one.topic, one.partition) for one in revoked}
        self._window.drop_waiting(partitions)
        tasks = [task for task, ticket in self._tasks.items() if ticket.partition in partitions]
        await _ended_or_cancelled(tasks, _REVOKE_GRACE_S)
        await self._commit()
        self._window.revoke(partitions)

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._changed.set()


async def _ended_or_cancelled(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """None of them runs any more."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
