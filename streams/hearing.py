"""An answer is heard: when it came first, whether a radiologist had verified before, and whether its model was recalled. What was
decided once stays so: an answer that receivers were told before he verified is not marked by being read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from schemas.case_store import Correlation
from schemas.events import ReportEvent
from schemas.findings import Findings, NotAnalysedReason
from schemas.hearings import Heard
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Record
from streams.concerned import orders_around
from streams.discrepancies import opened, superseded
from streams.emission import emit_findings
from streams.order_lines import accessions_of, with_accession_now
from streams.recalls import key_of_model, withdrawal
from streams.serialised import Keys, cover, keys_of
from streams.verification import after_verification, is_of, locked_by, verified_at


def keys_of_answer(findings: Findings) -> Keys:
    """The locks that `hear` needs: of the study, and of the model against its recall."""
    of_model = () if findings.model is None else (key_of_model(findings.model.name, findings.model.version),)
    return keys_of([findings.subject.study_instance_uid]).union(of_model)


async def hear(rows: Correlation, findings: Findings, record: Record, escalate_after: timedelta | None) -> list[Outgoing]:
    """What one record of `ai.results` leads to."""
    why = None if findings.not_analysed is None else findings.not_analysed.reason
    if findings.verified_at is not None:
        return []
    if why is NotAnalysedReason.LATE:  # it ends nothing, but stood in the place of what had been said
        await rows.put_heard(_heard(findings, record))
        return []
    outs = await superseded(rows, findings, record)
    if why is NotAnalysedReason.MODEL_RECALLED:  # what we say of an answer that is kept
        return outs
    said = await rows.put_heard(_heard(findings, record))
    recall = None if said.model is None else await rows.recalled(*said.model)
    if recall is not None:
        return [*outs, withdrawal(said, recall)]
    if said.verified_at is None:
        said = await _after_verification(rows, said)
    return [*outs, *_marked(said), *await opened(rows, said, escalate_after)]


async def reported(
    rows: Correlation, locked: Keys, own: Keys, report: ReportEvent, escalate_after: timedelta | None
) -> list[Outgoing]:
    """A report event: it is kept for the answers to come, and marks those that had come after it and were read before it. Read
    again, it says again what it led to."""
    # who verified when is all that is asked of it: no need to keep what it says, and of whom
    await rows.put_report(report.model_copy(update={"text": "", "addendum": "", "attachments": (), "patients": ()}))
    studies = sorted(await _studies_of(rows, report))
    heard = [(one, one.model) for study in studies for one in await rows.heard_of(study) if one.model is not None]
    cover(rows, locked, own | keys_of(studies) | {key_of_model(*model) for _, model in heard})
    outs: list[Outgoing] = []
    for one, model in heard:
        if one.came_at < report.time or not is_of(report, one.findings.subject) or await rows.recalled(*model) is not None:
            continue
        if one.verified_at is None:
            one = await _after_verification(rows, replace(one, because=report.id))
        outs += _marked(one) if one.because == report.id else []
        # also one that another report had marked: he may have verified earlier than that one said
        outs += await opened(rows, one, escalate_after)
    return outs


async def _after_verification(rows: Correlation, said: Heard) -> Heard:
    """As it is kept, and marked if it has to be."""
    subject = said.findings.subject
    if said.model is None or not subject.outward:
        return said
    lock = locked_by(await rows.reports_of(subject), subject, said.came_at)
    if lock is None:
        return said
    marked = replace(said, verified_at=verified_at(lock))
    await rows.mark_heard(marked)
    return marked


def _marked(said: Heard) -> list[Outgoing]:
    """A function of what is kept alone: said again, by whatever record, it is the same to the last header."""
    if said.verified_at is None:
        return []
    return [emit_findings(after_verification(said.findings, said.verified_at), said.record)]


async def _studies_of(rows: Correlation, report: ReportEvent) -> set[StudyInstanceUID]:
    """Of its accession number, and of those of its order, of what this replaces and of what replaces it; perhaps a few more."""
    own = () if report.accession_number is None else (report.accession_number,)
    events, _ = await orders_around(rows, [(report.placer_order_number, report.filler_order_number)], own)
    found: set[StudyInstanceUID] = set()
    for accession in accessions_of(*events, *with_accession_now(events)).union(own):
        found.update(state.events[0].study_instance_uid for state in await rows.studies_of(accession))
    return found


def _heard(findings: Findings, record: Record) -> Heard:
    of, model = findings.subject, findings.model
    return Heard(
        study_instance_uid=of.study_instance_uid,
        service=findings.service,
        sequence=of.sequence,
        analysis_id=findings.analysis_id,
        value=record.value,
        came_at=record.timestamp,
        model=None if model is None else (model.name, model.version),
        place=record.place,
        traceparent=record.header("traceparent"),
    )
