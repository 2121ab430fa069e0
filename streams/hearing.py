"""An answer is heard: when it came first, whether a radiologist had verified before, and whether its model was recalled. What was
decided once stays so: an answer that receivers were told before he verified is not marked by being read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from schemas.case_store import Correlation
from schemas.events import FINDINGS_TYPE, ReportEvent
from schemas.findings import Findings, NotAnalysedReason, Subject
from schemas.hearings import Heard
from schemas.identifiers import AccessionNumber, FillerOrderNumber, PlacerOrderNumber, StudyInstanceUID
from schemas.ports import Outgoing, Record
from streams.concerned import orders_around
from streams.discrepancies import opened, superseded
from streams.emission import emit_value
from streams.order_lines import accessions_of, with_accession_now
from streams.recalls import key_of_model, withdrawal
from streams.serialised import Keys, cover, keys_of
from streams.topics import RESULTS
from streams.verification import after_verification, is_of, verified_at

#: of these nothing is kept: the first says nothing of the study, the second is what we say of an answer that is kept
_SAID_BESIDE = (NotAnalysedReason.LATE, NotAnalysedReason.MODEL_RECALLED)


def keys_of_answer(findings: Findings) -> Keys:
    """The locks that `hear` needs: of the study, and of the model against its recall."""
    of_model = () if findings.model is None else (key_of_model(findings.model.name, findings.model.version),)
    return keys_of([findings.subject.study_instance_uid]).union(of_model)


async def hear(rows: Correlation, findings: Findings, record: Record, escalate_after: timedelta | None) -> list[Outgoing]:
    """What one record of `ai.results` leads to."""
    why = None if findings.not_analysed is None else findings.not_analysed.reason
    if findings.verified_at is not None or why is NotAnalysedReason.LATE:
        return []
    outs = await superseded(rows, findings, record)
    if why in _SAID_BESIDE:
        return outs
    said = await rows.put_heard(_heard(findings, record))
    recall = None if said.model is None else await rows.recalled(*said.model)
    if recall is not None:
        return [*outs, withdrawal(said, recall, record)]
    if said.verified_at is None:
        said = await _after_verification(rows, said)
    return [*outs, *await _marked(rows, said, escalate_after, record)]


async def reported(
    rows: Correlation, locked: Keys, own: Keys, report: ReportEvent, record: Record, escalate_after: timedelta | None
) -> list[Outgoing]:
    """A report event: it is kept for the answers to come, and marks those that had come after it and were read before it. Read
    again, it says again what it led to."""
    # who verified when is all that is asked of it: no need to keep what it says, and of whom
    await rows.put_report(report.model_copy(update={"text": "", "addendum": "", "attachments": (), "patients": ()}))
    studies = sorted(await _studies_of(rows, report))
    heard = [await rows.heard_of(study) for study in studies]
    models = {key_of_model(*one.model) for said in heard for one in said if one.model is not None}
    cover(rows, locked, own | keys_of(studies) | models)
    outs: list[Outgoing] = []
    for said in heard:
        last = {one.service: one for one in said}  # by sequence
        for one in last.values():
            if one.verified_at is None and is_of(report, Findings.model_validate_json(one.value).subject):
                one = await _after_verification(rows, replace(one, because=report.id))
            elif one.because != report.id:
                continue
            if one.model is None or await rows.recalled(*one.model) is None:
                outs += await _marked(rows, one, escalate_after, record)
    return outs


async def _after_verification(rows: Correlation, said: Heard) -> Heard:
    """As it is kept, and marked if it has to be."""
    subject = Findings.model_validate_json(said.value).subject
    if said.model is None or not subject.outward:
        return said
    at = verified_at(await rows.reports_sharing(_numbers_of(subject)), subject, said.came_at)
    if at is None:
        return said
    marked = replace(said, verified_at=at)
    await rows.mark_heard(marked)
    return marked


async def _marked(rows: Correlation, said: Heard, escalate_after: timedelta | None, cause: Record) -> list[Outgoing]:
    if said.verified_at is None:
        return []
    marked = after_verification(Findings.model_validate_json(said.value), said.verified_at)
    of, value = marked.subject, marked.model_dump_json().encode("utf-8")
    out = emit_value(
        RESULTS, of.study_instance_uid, value, id=said.analysis_id, type=FINDINGS_TYPE, time=of.triggered_at, cause=cause
    )
    return [out, *await opened(rows, said, marked, escalate_after, cause)]


async def _studies_of(rows: Correlation, report: ReportEvent) -> set[StudyInstanceUID]:
    """Of its accession number, and of those of its order, of what this replaces and of what replaces it; perhaps a few more."""
    own = () if report.accession_number is None else (report.accession_number,)
    events, _ = await orders_around(rows, [(report.placer_order_number, report.filler_order_number)], own)
    found: set[StudyInstanceUID] = set()
    for accession in accessions_of(*events, *with_accession_now(events)).union(own):
        found.update(state.events[0].study_instance_uid for state in await rows.studies_of(accession))
    return found


def _numbers_of(subject: Subject) -> set[PlacerOrderNumber | FillerOrderNumber | AccessionNumber]:
    found: Sequence[PlacerOrderNumber | FillerOrderNumber | AccessionNumber | None] = [
        subject.accession_number,
        *(order.accession_number for order in subject.orders),
        *(order.placer_order_number for order in subject.orders),
        *(order.filler_order_number for order in subject.orders),
    ]
    return {number for number in found if number is not None}


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
    )
