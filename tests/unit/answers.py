"""A request, its answer, and the word that it is late."""

from __future__ import annotations

from schemas.events import FINDINGS_TYPE
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested
from streams.emission import emit_value
from streams.steps.analyse import analysis_id
from streams.topics import RESULTS
from tests.contract.example_findings import devices_alone, two_findings
from tests.unit.cases import Hospital, minutes, order, said, study

ORDER = order(placer="P1", accession="A1")


def result(findings: Findings) -> Outgoing:
    value = findings.model_dump_json().encode()
    of = findings.subject
    return emit_value(
        RESULTS, of.study_instance_uid, value, id=findings.analysis_id, type=FINDINGS_TYPE, time=of.triggered_at, cause=None
    )


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
