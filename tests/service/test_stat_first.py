"""A STAT study overtakes 200 routine ones that wait: it is next on `ai.results`, in at most twice the time that it takes alone."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import pytest

from schemas.events import Priority
from schemas.ports import Record
from schemas.study_events import AnalysisRequested
from streams.services import LocalServices
from tests.service.analyse_process import Analysing, analysing

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]

#: studies in the archive; each is asked for ten times, because 200 of them would be 1.4 GB
STORED, WAITING = 20, 200
MEASURED = 8
#: this many routine results lie between two STAT requests
APART = 6


async def _answered(analyse: Analysing, stat: AnalysisRequested) -> tuple[float, Record]:
    """Milliseconds from the request to the time stamp of the result."""
    begun = time.time()
    [name] = await analyse.ask([stat], Priority.STAT)
    [result] = await analyse.answered([name], 60)
    return (result.timestamp.timestamp() - begun) * 1000, result


async def _alone(analyse: Analysing, stat: AnalysisRequested) -> list[float]:
    return [(await _answered(analyse, stat))[0] for _ in range(MEASURED)]


async def test_stat_first(broker: LocalServices, archive_apart: LocalServices, tmp_path: Path) -> None:
    async with analysing(broker.kafka_bootstrap, archive_apart.orthanc_url, tmp_path) as analyse:
        in_flight = analyse.settings.runner.window - 1  # of routine studies
        stat = await analyse.stored("STAT-NOW")
        routine = [await analyse.stored(f"STAT-LATER-{number}") for number in range(STORED)]
        await _answered(analyse, stat)  # warm
        alone = await _alone(analyse, stat)
        waiting = await analyse.ask(routine * (WAITING // STORED))
        beside = []
        for number in range(1, MEASURED + 1):
            await analyse.any_answered(waiting, number * APART)
            before = {name for name in waiting if name in analyse.results}
            assert len(before) < WAITING / 2, "else none would wait at the end"
            took, result = await _answered(analyse, stat)
            beside.append(took)
            earlier = [
                name
                for name in waiting
                if name in analyse.results and name not in before and analyse.results[name].timestamp < result.timestamp
            ]
            assert len(earlier) <= in_flight, "only what was begun already comes before it"
        await analyse.answered(waiting)
        alone += await _alone(analyse, stat)
    told = f"alone {median(alone):.0f} ms, beside {WAITING} routine studies {median(beside):.0f} ms"
    print(told, sorted(map(round, beside)))
    assert median(beside) <= 2 * median(alone), told
