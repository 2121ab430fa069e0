"""How long a replay will take, from what the last analyses took."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from itertools import pairwise
from statistics import median

from schemas.events import FINDINGS_TYPE
from schemas.history import History, Span
from schemas.ports import Place
from streams import topics
from streams.causes import cause_of
from streams.placed import records_at
from streams.replay.gaps import parted
from streams.replay.plan import Plan, records_of

#: results of each partition that are looked at
_LAST = 32
_REQUESTS = {topic.name for topic in (topics.REQUESTS, topics.REQUESTS_STAT, topics.REQUESTS_BULK)}
#: less than this is no analysis
_LEAST_S = 0.001


async def seconds_per_analysis(history: History) -> float | None:
    """Of the last results: the median from request to answer, or of the time between two answers, whichever is less: in an idle
    engine the one is the work alone, in a busy one the other. None where too few were given. Raises as `History.records`."""
    answered: list[tuple[datetime, Place]] = []
    for held in await history.spans(topics.RESULTS.name):
        last = Span(held.topic, held.partition, max(held.first, held.end - _LAST), held.end)
        there, _ = await parted(history, [last] if len(last) else [])
        async with aclosing(records_of(history, there)) as records:
            async for record in records:
                cause = cause_of(record)
                if cause is not None and cause.topic in _REQUESTS and record.header("ce_type") == FINDINGS_TYPE:
                    answered.append((record.timestamp, cause))
    asked, _ = await records_at(history, [cause for _, cause in answered])
    waits = [(at - asked[cause].timestamp).total_seconds() for at, cause in answered if cause in asked]
    gaps = [(after - before).total_seconds() for before, after in pairwise(sorted(at for at, _ in answered))]
    measured = [median(some) for some in (waits, gaps) if len(some) >= 2]
    return max(min(measured), _LEAST_S) if measured else None


def seconds_of(plan: Plan, rate: float | None, *, analyses: bool = True) -> float | None:
    """At `rate` inputs a second (None: without a limit, as fast as it can). None where nobody knows how long an analysis takes."""
    asked = plan.analyses if analyses else 0
    if asked and plan.seconds_per_analysis is None:
        return None
    return (plan.records / rate if rate else 0.0) + asked * (plan.seconds_per_analysis or 0.0)
