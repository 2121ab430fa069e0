"""Whether a radiologist had verified the report of a study before an answer came: a pure function of the report events.

Signed and amended reports (OBR-25 F and C; OBX-11 F, U, C ... where OBR-25 says nothing) lock. Of each report the newest word of
its sender counts (rule 8): one that makes it a draft again unlocks, one of another report or another sender does not. Where it is
uncertain whether two words are of one report they are two, and the study stays locked: an answer that says once too often that
it came after verification harms nobody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from schemas.events import ReportDrafted, ReportEvent
from schemas.findings import Findings, Subject
from streams.order_lines import agree
from streams.order_of_truth import by_sender
from streams.sequences import AFTER_VERIFICATION


def is_of(report: ReportEvent, subject: Subject) -> bool:
    """By accession number; else by the numbers of the study's orders, as they were linked to it. A filler order number that stands
    for an accession number which was not sent says nothing against the second."""
    accession, filler = report.accession_number, report.filler_order_number
    if accession is not None:
        if accession in {subject.accession_number, *(order.accession_number for order in subject.orders)}:
            return True
        if filler is None or filler.value != accession.value:
            return False
    line = report.placer_order_number, filler
    return any(agree(line, (order.placer_order_number, order.filler_order_number)) for order in subject.orders)


def locked_by(reports: Sequence[ReportEvent], subject: Subject, came_at: datetime) -> ReportEvent | None:
    """The report that first locked the study, as far as anybody knew when the answer came; None: it was not locked. `reports` in
    order of arrival. Its `time`, when it came to us, is when he verified; its OBR-22 is of a clock of the hospital's, which is told
    and never compared with ours."""
    words: dict[object, list[ReportEvent]] = defaultdict(list)
    for report in reports:
        if report.time <= came_at and is_of(report, subject):
            words[_report_of(report)].append(report)
    locks = [first for said in words.values() if (first := _locked_since(said)) is not None]
    # across senders no times are compared: what came first
    return min(locks, key=lambda first: (first.time, first.id), default=None)


def verified_at(lock: ReportEvent) -> datetime:
    """What is told: OBR-22."""
    return lock.sender.occurred_at.astimezone(UTC)


def after_verification(findings: Findings, at: datetime) -> Findings:
    """The same answer, marked."""
    subject = findings.subject.model_copy(update={"sequence": findings.subject.sequence + AFTER_VERIFICATION})
    return findings.model_copy(update={"subject": subject, "verified_at": at})


def _report_of(event: ReportEvent) -> object:
    numbers = event.placer_order_number, event.filler_order_number, event.accession_number
    return event.sender.key, numbers, event.service_code


def _locked_since(words: Sequence[ReportEvent]) -> ReportEvent | None:
    """The first signature after which nothing made it a draft again."""
    first = None
    for said in by_sender(words).values():
        for _, word in said:
            first = None if isinstance(word, ReportDrafted) else first or word
    return first
