"""A request, its answer, and the word that it is late."""

from __future__ import annotations

from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested
from streams.emission import emit_findings
from streams.steps.analyse import analysis_id
from tests.contract.example_findings import devices_alone, two_findings
from tests.unit.cases import Hospital, minutes, order, said, study

ORDER = order(placer="P1", accession="A1")


def result(findings: Findings) -> Outgoing:
    return emit_findings(findings, None)


def record(out: Outgoing, offset: int = 0, at: float = 0) -> Record:
    return Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, minutes(at))


def answer_to(out: Outgoing, service: str = CHEST_RADIOGRAPH_FINDINGS) -> Findings:
    """What `analyse` finds: two findings; of another service outputs alone."""
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    found = two_findings() if service == CHEST_RADIOGRAPH_FINDINGS else devices_alone(service=service)
    return found.model_copy(update={"analysis_id": analysis_id(request, service), "subject": request.subject})


async def requested(hospital: Hospital, at: float = 1) -> Outgoing:
    await hospital.happens(ORDER)
    (out,) = await hospital.happens(study(at=at))
    return out


async def late_of(hospital: Hospital) -> Outgoing:
    (out,) = await hospital.time_passes(99)
    return out
