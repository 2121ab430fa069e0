"""The role `watch`: what study sources say goes on the log, and only then the source's position is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from schemas.errors import RadstreamError, Refused, Unavailable
from schemas.ports import CaseStore, EventLog, StudySource
from streams import topics
from streams.emission import emit

_BACK_OFF_LIMIT_S = 5.0
_log = structlog.get_logger()


async def watch(sources: Sequence[StudySource], log: EventLog, cases: CaseStore, *, interval_s: float, stop: asyncio.Event) -> None:
    """Follows all sources until `stop`. A dependency that is down, or refuses, pauses that source alone; anything
    unexpected ends all of them and is raised, and the supervisor starts the role again from the positions kept."""
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(_follow(source, log, cases, interval_s, stop), name=source.name)


async def take_over(source: StudySource, log: EventLog, cases: CaseStore) -> bool:
    """One batch of one source; whether there was anything new. Raises Unavailable, Refused."""
    position = await cases.position(source.name)
    completed, next_position = await source.completed_since(position)
    if completed:
        await log.append([emit(topics.STUDIES, event.study_instance_uid, event, None) for event in completed])
    if next_position is None or next_position == position:
        return False
    await cases.put_position(source.name, next_position)
    return True


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
