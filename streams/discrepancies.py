"""The AI found something, after a radiologist had verified the report: a discrepancy, that a person must look at.

It is one for study, service, revision and model: these find the same whenever they are asked again, for another order or after
another correction. So it opens once, and again only when it was withdrawn in between and nobody had acknowledged it. What had
been told before he verified, and is merely told again, opens none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from schemas.case_store import CaseStore, Correlation, Due
from schemas.discrepancies import (
    DiscrepancyAcknowledged,
    DiscrepancyEscalated,
    DiscrepancyEvent,
    DiscrepancyOpened,
    DiscrepancyWithdrawn,
)
from schemas.findings import Findings
from schemas.hearings import Discrepancy, Heard
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Record
from streams.emission import emit
from streams.serialised import keys_of
from streams.topics import DISCREPANCIES

#: the timer of a discrepancy that nobody has acknowledged
ESCALATION = "discrepancy-escalation"


def discrepancy_id(findings: Findings) -> UUID | None:
    """None: it was not analysed."""
    if findings.model is None or findings.not_analysed is not None:
        return None
    of, model = findings.subject, findings.model
    parts = (of.study_instance_uid, findings.service, of.revision, model.name, model.version, model.weights_sha256)
    return identity("discrepancy", *parts)


async def opened(
    rows: Correlation, said: Heard, marked: Findings, escalate_after: timedelta | None, cause: Record
) -> list[Outgoing]:
    """What a marked answer opens, if it found something: nothing in its place yet, and nothing that he knew when he verified."""
    id = discrepancy_id(marked)
    if id is None or not marked.present:
        return []
    kept = await _kept(rows, said, id)
    if kept is None or (kept.withdrawn_by is not None and kept.withdrawn_at < said.sequence):
        others = [one for one in await rows.heard_of(said.study_instance_uid) if one.service == said.service]
        if (kept is not None and kept.acknowledged) or _replaced(said, others) or _known_before(said, others, id):
            return []
        event = _opened(id, said, marked, escalate_after)
        value = event.model_dump_json().encode("utf-8")
        new = Discrepancy(id, said.study_instance_uid, said.service, said.analysis_id, event.sequence, value)
        await rows.put_discrepancy(new)
        if event.escalate_at is not None:
            await rows.put_due(Due(_escalation_id(new), ESCALATION, said.study_instance_uid, event.escalate_at))
        kept = await _kept(rows, said, id) or new  # somebody may have acknowledged it, where the tables are built anew
    if kept.analysis_id != said.analysis_id or kept.acknowledged or kept.withdrawn_by is not None:
        return []
    return [_emitted(DiscrepancyOpened.model_validate_json(kept.event), cause)]


async def superseded(rows: Correlation, findings: Findings, cause: Record) -> list[Outgoing]:
    """What a later state of the study, in the report of the service, ends: another answer, or why there is none."""
    id, of = discrepancy_id(findings), findings.subject
    outs = []
    for one in await rows.discrepancies_of(of.study_instance_uid):
        is_open = one.withdrawn_by is None and one.sequence < of.sequence and one.discrepancy_id != id and not one.acknowledged
        if one.service == findings.service and is_open:
            one = replace(one, withdrawn_by=findings.analysis_id, withdrawn_at=of.sequence)
            await rows.put_discrepancy(one)
        if one.service == findings.service and one.withdrawn_by == findings.analysis_id:
            outs.append(_emitted(_became(DiscrepancyWithdrawn, one, of.triggered_at, str(findings.analysis_id)), cause))
    return outs


async def acknowledged(event: DiscrepancyAcknowledged, *, cases: CaseStore) -> Sequence[Outgoing]:
    """Raises StoreUnavailable."""
    async with cases.correlation(*keys_of([event.study_instance_uid])) as rows:
        await rows.put_acknowledged(event.discrepancy_id)
    return ()


async def not_acknowledged_in_time(due: Due, fired_at: datetime, *, cases: CaseStore) -> Sequence[Outgoing]:
    """The timer of a discrepancy. Raises StoreUnavailable."""
    del fired_at
    study = StudyInstanceUID(due.case)
    async with cases.correlation(*keys_of([study])) as rows:
        found = next((one for one in await rows.discrepancies_of(study) if _escalation_id(one) == due.id), None)
    if found is None or found.acknowledged or found.withdrawn_by is not None:
        return ()
    at = DiscrepancyOpened.model_validate_json(found.event).escalate_at
    return () if at is None else (_emitted(_became(DiscrepancyEscalated, found, at), None),)


async def _kept(rows: Correlation, said: Heard, id: UUID) -> Discrepancy | None:
    return next((one for one in await rows.discrepancies_of(said.study_instance_uid) if one.discrepancy_id == id), None)


def _replaced(said: Heard, others: Sequence[Heard]) -> bool:
    return any(one.sequence > said.sequence for one in others)


def _known_before(said: Heard, others: Sequence[Heard], id: UUID) -> bool:
    """Whether receivers had been told the same before he verified, and nothing else since."""
    for one in sorted(others, key=lambda other: other.sequence, reverse=True):
        if one.sequence >= said.sequence:
            continue
        before = Findings.model_validate_json(one.value)
        if discrepancy_id(before) != id or not before.subject.outward:
            return False
        if one.verified_at is None:
            return True
    return False


def _opened(id: UUID, said: Heard, marked: Findings, escalate_after: timedelta | None) -> DiscrepancyOpened:
    assert marked.verified_at is not None
    return DiscrepancyOpened(
        id=identity("discrepancy-opened", str(id), str(said.analysis_id)),
        time=said.came_at,
        discrepancy_id=id,
        study_instance_uid=said.study_instance_uid,
        accession_number=marked.subject.accession_number,
        service=said.service,
        analysis_id=said.analysis_id,
        sequence=marked.subject.sequence,
        verified_at=marked.verified_at,
        escalate_at=None if escalate_after is None else said.came_at + escalate_after,
    )


def _became(
    kind: type[DiscrepancyWithdrawn] | type[DiscrepancyEscalated], of: Discrepancy, at: datetime, *because: str
) -> DiscrepancyEvent:
    first = DiscrepancyOpened.model_validate_json(of.event)
    return kind(
        id=identity(kind.TYPE, str(of.discrepancy_id), str(of.analysis_id), *because),
        time=at,
        discrepancy_id=of.discrepancy_id,
        study_instance_uid=of.study_instance_uid,
        accession_number=first.accession_number,
        service=of.service,
        analysis_id=of.analysis_id,
    )


def _emitted(event: DiscrepancyEvent, cause: Record | None) -> Outgoing:
    return emit(DISCREPANCIES, event.study_instance_uid, event, cause)


def _escalation_id(of: Discrepancy) -> UUID:
    return identity(ESCALATION, str(of.discrepancy_id), str(of.analysis_id))
