"""The deadline of a request: past it receivers are told "not analysed (late)", because silence is read as negative. The answer
may still follow: it has the higher sequence, so it wins in whatever order the two arrive."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from schemas.case_store import Due, Told
from schemas.events import FINDINGS_TYPE
from schemas.findings import Findings, NotAnalysed, NotAnalysedReason
from schemas.identifiers import identity
from schemas.ports import Outgoing
from schemas.study_events import AnalysisRequested
from streams.case_state import value_of
from streams.emission import emit_value
from streams.topics import RESULTS

#: the timer of a request that waits for its answer
DEADLINE = "deadline"

_WORDS = "No answer came within the time limit. It may still follow."


def deadline_id(analysis_id: UUID) -> UUID:
    """Of the timer that waits for the answer of this analysis."""
    return identity(DEADLINE, str(analysis_id))


def deadline_of(request: AnalysisRequested, not_before: datetime) -> Due:
    """The timer of a request."""
    return Due(deadline_id(request.id), DEADLINE, request.subject.study_instance_uid, not_before)


def late(due: Due, told: Told | None) -> Outgoing | None:
    """What is said when the deadline passes; nothing of a request that another state has superseded. A function of the request
    alone: said twice, it is the same."""
    value = None if told is None else value_of(told)
    if not isinstance(value, AnalysisRequested) or deadline_id(value.id) != due.id:
        return None
    subject = value.subject.model_copy(update={"sequence": value.subject.sequence - 1})
    not_analysed = NotAnalysed(reason=NotAnalysedReason.LATE, explanation=_WORDS)
    said = Findings(analysis_id=identity("late", str(value.id)), subject=subject, not_analysed=not_analysed)
    return emit_value(
        RESULTS,
        subject.study_instance_uid,
        said.model_dump_json().encode("utf-8"),
        id=said.analysis_id,
        type=FINDINGS_TYPE,
        time=subject.triggered_at,
        cause=None,
    )
