"""Several services may speak of one study, each in a report of its own. What is told of the study itself, each of them says:
nothing that one of them found outlives a cancelled order or an image that is gone."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.case_store import Correlation, StudyState
from schemas.findings import Findings
from schemas.identifiers import identity
from schemas.ports import Outgoing, Record
from schemas.study_events import AnalysisRequested
from streams.case_state import value_of
from streams.emission import emit_findings
from streams.late import deadline_id, deadline_of


def said_by(services: tuple[str, ...], told: Findings, cause: Record | None) -> Iterator[Outgoing]:
    """That the study is not analysed, in the words of the state, for the reports beside the usual one."""
    for service in services:
        id = identity("not-analysed", str(told.analysis_id), service)
        yield emit_findings(told.model_copy(update={"analysis_id": id, "service": service}), cause)


async def heard(rows: Correlation, state: StudyState | None, findings: Findings, record: Record) -> tuple[Outgoing, ...]:
    """A service beside the usual one has spoken. Where the state has gone on since, its receivers must be told so too: a study that
    is not analysed any more, again and again (rule 1); and of a request that was told before anybody knew of the service, its
    deadline is over: what was found may be of an image that is gone."""
    study, service, sequence = findings.subject.study_instance_uid, findings.service, findings.subject.sequence
    first = state is None or service not in state.services
    if first:
        await rows.put_service(study, service)
    if state is None or state.told is None:
        return ()
    told = value_of(state.told)
    if isinstance(told, Findings):
        return tuple(said_by((service,), told, record)) if sequence < told.subject.sequence else ()
    await _waits_or_not(rows, told, findings, record, first=first)
    return ()


async def _waits_or_not(rows: Correlation, request: AnalysisRequested, findings: Findings, record: Record, *, first: bool) -> None:
    sequence = findings.subject.sequence
    if sequence == request.subject.sequence:
        await rows.remove_due(deadline_id(request.id, findings.service))
    elif sequence < request.subject.sequence and request.subject.outward and first:
        await rows.put_due(deadline_of(request, record.timestamp, findings.service))
