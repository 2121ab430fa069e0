"""Memory of `work analyse` and of its decoding process, from outside: it does not grow with the studies that went through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.findings import Findings
from schemas.study_events import AnalysisRequested
from streams.services import LocalServices
from tests.service.analyse_process import Analysing, analysing, decoding_processes, resident_mib

pytestmark = [pytest.mark.service, pytest.mark.long, pytest.mark.timeout(3600)]

EARLY, WHOLE = 500, 2_000
#: studies in the archive, asked for again and again; requests that wait at a time
STORED, WAITING = 10, 50
#: what is allocated again does not always lie where it lay
ALLOWED = 1.1


async def _through(analyse: Analysing, requests: Sequence[AnalysisRequested], first: int, behind: int) -> tuple[float, float]:
    """MiB of the role's process and of its decoders, when these have been analysed."""
    for begin in range(first, behind, WAITING):
        names = await analyse.ask([requests[number % STORED] for number in range(begin, min(begin + WAITING, behind))])
        for record in await analyse.answered(names):
            assert Findings.model_validate_json(record.value).images, "analysed, not refused"
        analyse.results.clear()
    decoders = decoding_processes(analyse.pid)
    assert decoders
    return resident_mib(analyse.pid), sum(map(resident_mib, decoders))


async def test_2_000_studies_cost_no_more_than_500(
    broker: LocalServices, archive_apart: LocalServices, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with analysing(broker.kafka_bootstrap, archive_apart.orthanc_url, tmp_path) as analyse:
        requests = [await analyse.stored(f"MEMORY-{number}") for number in range(STORED)]
        begun = analyse.pid, decoding_processes(analyse.pid)
        early = await _through(analyse, requests, 0, EARLY)
        whole = await _through(analyse, requests, EARLY, WHOLE)
        assert (analyse.pid, decoding_processes(analyse.pid)) == begun, "the same processes all the way"
    told = f"MiB of analyse and of its decoders: {early} after {EARLY} studies, {whole} after {WHOLE}"
    record_property("memory", told)
    print(told)
    for one, other in zip(early, whole, strict=True):
        assert other <= ALLOWED * one, told
