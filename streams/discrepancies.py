"""The AI found something, after a radiologist had verified the report: a discrepancy, that a person must look at.

It is one for study, accession number, patient, service, revision and model: these find the same whenever they are asked again, for
another order or after another correction. So it opens once, and again only when it was withdrawn in between and nobody had
acknowledged it. What had been told before he verified, and is merely told again, opens none. Where that is uncertain one opens: an
alarm too many harms less than one too few."""

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
from schemas.findings import Findings, NotAnalysedReason
from schemas.hearings import BEFORE_HEARING, Discrepancy, Heard
from schemas.identifiers import StudyInstanceUID, identity
from schemas.ports import Outgoing, Record
from streams.emission import emit
from streams.serialised import keys_of
from streams.topics import DISCREPANCIES, RESULTS
from streams.verification import after_verification, locked_by

#: the timer of a discrepancy that nobody has acknowledged
ESCALATION = "discrepancy-escalation"


def discrepancy_id(findings: Findings) -> UUID | None:
    """None: nothing was found."""
    if findings.model is None or not findings.present:
        return None
    of, model = findings.subject, findings.model
    whose = ("" if number is None else number.text for number in (of.accession_number, of.patient))
    parts = (of.study_instance_uid, findings.service, of.revision, model.name, model.version, model.weights_sha256)
    return identity("discrepancy", *parts, *whose)


async def opened(rows: Correlation, said: Heard, escalate_after: timedelta | None) -> list[Outgoing]:
    """What a marked answer opens, if it found something: nothing in its place yet, and nothing that he knew when he verified. Asked
    again, it says again what it opened."""
    if said.verified_at is None:
        return []
    marked = after_verification(said.findings, said.verified_at)
    id = discrepancy_id(marked)
    if id is None or await _is_over(rows, said):
        return []
    kept = await _kept(rows, said, id)
    if kept is None or (kept.withdrawn_by is not None and kept.withdrawn_sequence < said.sequence):
        others = [one for one in await rows.heard_of(said.study_instance_uid) if one.service == said.service]
        lock = locked_by(await rows.reports_of(marked.subject), marked.subject, said.came_at)
        acknowledged = kept is not None and kept.acknowledged
        if acknowledged or lock is None or _replaced(said, others, id) or _known_before(said, others, id, lock.time):
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
    return [_emitted(DiscrepancyOpened.model_validate_json(kept.event), said.record)]


async def superseded(rows: Correlation, findings: Findings, cause: Record) -> list[Outgoing]:
    """What a later state of the study, in the report of the service, ends: another answer, or why there is none."""
    id, of = discrepancy_id(findings), findings.subject
    outs = []
    for one in await rows.discrepancies_of(of.study_instance_uid):
        if one.service != findings.service:
            continue
        is_open = one.withdrawn_by is None and not one.acknowledged
        if is_open and one.sequence < of.sequence and one.discrepancy_id != id:
            one = replace(one, withdrawn_by=findings.analysis_id, withdrawn_sequence=of.sequence)
            await rows.put_discrepancy(one)
        if one.withdrawn_by == findings.analysis_id:
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


async def _is_over(rows: Correlation, said: Heard) -> bool:
    """`correlate` has said since that the study is not analysed: that stands on the log, and is about to be heard."""
    state = await rows.study(said.study_instance_uid)
    told = None if state is None else state.told
    return told is not None and told.topic == RESULTS.name and told.sequence > said.sequence


def _replaced(said: Heard, others: Sequence[Heard], id: UUID) -> bool:
    """By something else than the same again; "late" ends nothing."""
    later = (one.findings for one in others if one.sequence > said.sequence)
    return any(discrepancy_id(one) != id and not _is_late(one) for one in later)


def _is_late(findings: Findings) -> bool:
    return findings.not_analysed is not None and findings.not_analysed.reason is NotAnalysedReason.LATE


def _known_before(said: Heard, others: Sequence[Heard], id: UUID, verified: datetime) -> bool:
    """Whether receivers had been told the same before he verified, and until then nothing else since: not even that it is late."""
    # an answer to an earlier request that comes still later was told to nobody
    before = [one for one in others if one.sequence < said.sequence and (one.model is None or one.came_at <= said.came_at)]
    for one in sorted(before, key=lambda each: each.sequence, reverse=True):
        findings = one.findings
        if discrepancy_id(findings) != id or not findings.subject.outward or one.came_at == BEFORE_HEARING:
            return False
        if one.came_at < verified:
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
