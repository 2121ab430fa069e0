"""Short steps under faust (rule 7): one App, one process, one record at a time, bytes in.

What faust does for us: the group, the fetching, the buffering. What it may not do:
- acknowledge: it does so when an agent fails or is cancelled, or when it skips a record of an older assignment. Its topics
  have `acks=False`, and we commit what the guard has finished. As records come one by one, the last is the low-water mark;
- lose silently: a hole in the offsets ends the run, and the next start reads again from what was committed (but of a compacted
  topic, where the broker makes the holes);
- own the process: the App runs in our event loop (`app.start()`), without faust's Worker, which would take signals, logging
  and standard output, and bind its web server to all interfaces.
Its stop sometimes hangs; by then all is committed, so a watchdog ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError

from schemas.errors import BrokerUnavailable
from schemas.moments import moment_of
from schemas.ports import Place, Record
from streams.guard import Guard, Outcome, StepStopped
from streams.runner import HEARTBEAT_S, LONGEST_PAUSE_S, SESSION_TIMEOUT_S, group_of
from streams.topics import ALL, LARGEST_RECORD

logger = structlog.get_logger()
for _name in ("faust", "mode"):
    logging.getLogger(_name).setLevel(logging.WARNING)

_COMMIT_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 8.0
_BUFFER = 64
_COMPACTED = frozenset(topic.name for topic in ALL if topic.compacted)


class FaustRunner:
    """A Runner. `instance`: a name that this process keeps over restarts and shares with no other, so that a restart is no
    rebalance; `drain_s`: how long, in seconds, the record at hand may go on after stop was asked. `compacted`: they have holes."""

    def __init__(
        self,
        bootstrap: str,
        step: str,
        *,
        instance: str | None = None,
        drain_s: float = 10.0,
        compacted: Collection[str] = _COMPACTED,
    ) -> None:
        self._bootstrap = bootstrap
        self._instance = instance
        self._drain_s = drain_s
        self._compacted = compacted
        self.group = group_of(step)

    async def run(self, topics: Sequence[str], guard: Guard, stop: asyncio.Event) -> None:
        """See Runner. Ends the whole process, with exit code 1 after a failure and else 0, when faust does not stop."""
        with tempfile.TemporaryDirectory(prefix="radstream-faust-") as folder:
            app = self._app(folder)
            run = _Run(app, guard, self._compacted)
            app.agent(
                app.topic(*topics, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False),
                name=guard.name,
                concurrency=1,
            )(run.agent)
            app.on_partitions_revoked.connect(run.revoked)
            try:
                await self._until(app, run, stop)
            finally:
                await run.end(self._drain_s)
                with _Watchdog(_STOP_TIMEOUT_S, lambda: 1 if run.failure else 0):
                    await app.stop()
        if run.failure is not None:
            raise run.failure

    async def _until(self, app: Any, run: _Run, stop: asyncio.Event) -> None:
        try:
            await app.start()
        except KafkaError as error:
            raise BrokerUnavailable("consume", self.group, type(error).__name__) from None
        waits = [
            asyncio.create_task(one) for one in (stop.wait(), run.over.wait(), app.wait_until_stopped(), run.commit_regularly())
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.wait(waits)
        if not stop.is_set() and run.failure is None:
            crash = type(app.crash_reason).__name__ if app.crash_reason else "no reason given"
            raise BrokerUnavailable("consume", self.group, f"faust ended: {crash}")

    def _app(self, folder: str) -> Any:
        return faust.App(
            self.group,
            broker=f"kafka://{self._bootstrap}",
            loop=asyncio.get_running_loop(),
            datadir=folder,
            web_enabled=False,
            table_standby_replicas=0,
            topic_disable_leader=True,
            topic_allow_declare=False,
            reply_create_topic=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=_BUFFER,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=LARGEST_RECORD,
            consumer_group_instance_id=self._instance,
            broker_commit_interval=_COMMIT_INTERVAL_S,
            broker_session_timeout=SESSION_TIMEOUT_S,
            broker_heartbeat_interval=HEARTBEAT_S,
            broker_max_poll_interval=LONGEST_PAUSE_S,
            stream_processing_timeout=LONGEST_PAUSE_S,
            broker_commit_livelock_soft_timeout=LONGEST_PAUSE_S,
        )


class _Run:
    """One run: the agent, and what it has finished."""

    def __init__(self, app: Any, guard: Guard, compacted: Collection[str]) -> None:
        self.failure: StepStopped | None = None
        self.over = asyncio.Event()
        self._app = app
        self._guard = guard
        self._compacted = compacted
        self._assignment = 0
        self._last: dict[Any, int] = {}
        self._uncommitted: dict[Any, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def agent(self, stream: Any) -> None:
        """No exception may leave it, and after the last record nothing may return to faust: it waits to be cancelled."""
        async for event in stream.events():
            if self.over.is_set():
                break
            self._idle.clear()
            try:
                await self._work(event.message)
            except StepStopped as error:
                self._fail(error)
            except Exception as error:  # noqa: BLE001 - faust would skip the record
                self._fail(StepStopped(self._guard.name, self._app.conf.id, type(error).__name__))
            finally:
                self._idle.set()
            if self.over.is_set():
                break
        await asyncio.Event().wait()

    async def _work(self, message: Any) -> None:
        assignment, partition, offset = self._assignment, message.tp, message.offset
        record = _record(message)
        last = self._last.get(partition)
        if last is not None and offset > last + 1 and record.place.topic not in self._compacted:
            raise StepStopped(self._guard.name, str(record.place), f"records after {last} are missing")
        outcome = await self._guard(record)
        if outcome is Outcome.UNFINISHED:
            self.over.set()
        elif assignment == self._assignment:
            self._last[partition] = offset
            self._uncommitted[partition] = offset + 1

    def _fail(self, error: StepStopped) -> None:
        self.failure = error
        self.over.set()

    async def revoked(self, app: Any, revoked: Any, **_: Any) -> None:
        """From here on the next record of a partition is the first after what was committed, by whomever."""
        self._assignment += 1
        self._last.clear()
        self._uncommitted.clear()

    async def commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(_COMMIT_INTERVAL_S)
            await self._commit()

    async def _commit(self) -> None:
        marks, assignment = dict(self._uncommitted), self._assignment
        if not marks or not await self._app.consumer._commit(marks) or assignment != self._assignment:
            return
        for partition, mark in marks.items():
            if self._uncommitted.get(partition) == mark:
                del self._uncommitted[partition]

    async def end(self, seconds: float) -> None:
        """Let the record at hand end, take no other, and commit what is finished."""
        self.over.set()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                await self._commit()
        except TimeoutError:
            logger.warning("not committed, will be repeated", step=self._guard.name)


def _record(message: Any) -> Record:
    return Record(
        place=Place(message.topic, message.partition, message.offset),
        key=message.key,
        value=message.value or b"",
        headers=tuple((name, value or b"") for name, value in message.headers or ()),
        timestamp=moment_of(round(message.timestamp * 1000)),  # Faust has made seconds of it
    )


class _Watchdog:
    """Ends the process when its block takes longer than `seconds`."""

    def __init__(self, seconds: float, code: Callable[[], int]) -> None:
        self._timer = threading.Timer(seconds, self._bite)
        self._timer.daemon = True
        self._code = code

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()

    def _bite(self) -> None:
        logger.warning("faust does not stop: ending the process")
        os._exit(self._code())
