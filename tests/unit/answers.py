"""A request, its answer, and the word that it is late."""

from __future__ import annotations

from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested
from streams.emission import emit_value
from streams.topics import RESULTS
from tests.contract.example_findings import two_findings
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


def answer_to(out: Outgoing) -> Findings:
    """What `analyse` finds."""
    request = said(out)
    assert isinstance(request, AnalysisRequested)
    return two_findings().model_copy(update={"analysis_id": request.id, "subject": request.subject})


async def requested(hospital: Hospital, at: float = 1) -> Outgoing:
    await hospital.happens(ORDER)
    (out,) = await hospital.happens(study(at=at))
    return out


async def late_of(hospital: Hospital) -> Outgoing:
    (out,) = await hospital.time_passes(99)
    return out
