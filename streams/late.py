"""The deadline of a request: past it receivers are told "not analysed (late)", because silence is read as negative. The answer
may still follow: it has the higher sequence (streams/sequences.py), so it wins in whatever order the two arrive."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from schemas.case_store import Due, StudyState
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysed, NotAnalysedReason
from schemas.identifiers import identity
from schemas.ports import Outgoing
from schemas.study_events import AnalysisRequested
from streams.case_state import value_of
from streams.emission import emit_findings
from streams.sequences import LATE

#: the timer of a request that waits for its answer
DEADLINE = "deadline"

_WORDS = "No answer came within the time limit. It may still follow."


def deadline_id(analysis_id: UUID, service: str = CHEST_RADIOGRAPH_FINDINGS) -> UUID:
    """Of the timer that waits for what the service answers to the request of this analysis."""
    return identity(DEADLINE, *_parts(analysis_id, service))


def deadline_of(request: AnalysisRequested, not_before: datetime, service: str = CHEST_RADIOGRAPH_FINDINGS) -> Due:
    """The timer of a request."""
    return Due(deadline_id(request.id, service), DEADLINE, request.subject.study_instance_uid, not_before)


def late(due: Due, state: StudyState | None) -> Outgoing | None:
    """What is said when the deadline passes; nothing of a request that another state has superseded. A function of the request
    and the service alone: said twice, it is the same."""
    value = None if state is None or state.told is None else value_of(state.told)
    if state is None or not isinstance(value, AnalysisRequested):
        return None
    services = (CHEST_RADIOGRAPH_FINDINGS, *state.services)
    service = next((service for service in services if deadline_id(value.id, service) == due.id), None)
    if service is None:
        return None
    subject = value.subject.model_copy(update={"sequence": value.subject.sequence + LATE})
    said = Findings(
        analysis_id=identity("late", *_parts(value.id, service)),
        subject=subject,
        service=service,
        not_analysed=NotAnalysed(reason=NotAnalysedReason.LATE, explanation=_WORDS),
    )
    return emit_findings(said, None)


def _parts(analysis_id: UUID, service: str) -> tuple[str, ...]:
    return (str(analysis_id),) if service == CHEST_RADIOGRAPH_FINDINGS else (str(analysis_id), service)
