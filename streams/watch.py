"""The role `watch`: what study sources say goes on the log, and only then the source's position is kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence

import structlog

from schemas.case_store import CaseStore
from schemas.errors import RadstreamError, Refused, Unavailable
from schemas.identifiers import identity
from schemas.notices import StudyNoticed
from schemas.ports import EventLog, Outgoing
from schemas.study_ports import RefusedChange, StudySource, Tell
from streams import topics
from streams.dead_letter import DEAD_LETTER_TYPE
from streams.emission import JSON, emit, headers

_BACK_OFF_LIMIT_S = 5.0
_log = structlog.get_logger()


async def watch(sources: Sequence[StudySource], log: EventLog, cases: CaseStore, *, interval_s: float, stop: asyncio.Event) -> None:
    """Follows all sources until `stop`. A dependency that is down, or refuses, pauses that source alone; anything
    unexpected ends all of them and is raised, and the supervisor starts the role again from the positions kept."""
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(_follow(source, log, cases, interval_s, stop), name=source.name)


def teller(log: EventLog) -> Tell:
    """For those who are told instead of asked: what they say is on the log when it returns."""

    async def tell(notices: Sequence[StudyNoticed]) -> None:
        await log.append([emit(topics.NOTICES, notice.key, notice, None) for notice in notices])

    return tell


def refuser(log: EventLog, source: str) -> Callable[[RefusedChange], Awaitable[None]]:
    """For what they say that can never be read: a dead letter."""

    async def refuse(refused: RefusedChange) -> None:
        await log.append([passed_over(source, refused)])

    return refuse


async def take_over(source: StudySource, log: EventLog, cases: CaseStore) -> bool:
    """One batch of one source; whether there was anything new. Raises Unavailable, Refused."""
    position = await cases.position(source.name)
    batch = await source.noticed_since(position)
    records = [emit(topics.NOTICES, notice.key, notice, None) for notice in batch.notices]
    records += [passed_over(source.name, refused) for refused in batch.refused]
    if records:
        await log.append(records)
    if batch.position is None or batch.position == position:
        return False
    await cases.put_position(source.name, batch.position)
    return True


def passed_over(source: str, refused: RefusedChange) -> Outgoing:
    """Its dead letter. There is no record it came from, so partition and offset are not told."""
    error = refused.error
    ours = {
        "topic": source,
        "step": "watch",
        "error": type(error).__name__,
        "reason": f"{error.reference}: {error.reason}",
        "attempts": "1",
    }
    told = headers(
        id=str(identity("study-refused", source, hashlib.sha256(refused.change).hexdigest())),
        type=DEAD_LETTER_TYPE,
        time=refused.time,
        cause=None,
        content_type=JSON,
    )
    value = (*((name, value.encode()) for name, value in ours.items()), *told)
    return Outgoing(topics.DEAD_LETTERS.name, None, refused.change, value)


async def _follow(source: StudySource, log: EventLog, cases: CaseStore, interval_s: float, stop: asyncio.Event) -> None:
    failure, pause_s = "", interval_s
    while not stop.is_set():
        try:
            more = await take_over(source, log, cases)
        except (Unavailable, Refused) as error:
            pause_s = min(2 * pause_s, max(_BACK_OFF_LIMIT_S, interval_s))
            failure = _tell_once(source, error, failure)
        else:
            if failure:
                _log.info("source goes on", source=source.name)
            failure, pause_s = "", interval_s
            if more:
                continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)


def _tell_once(source: StudySource, error: RadstreamError, last: str) -> str:
    """One line for each new reason, not one for each try. A refusal needs a person."""
    if str(error) != last:
        alarm = isinstance(error, Refused)
        (_log.error if alarm else _log.warning)("source pauses", source=source.name, error=str(error), alarm=alarm)
    return str(error)
