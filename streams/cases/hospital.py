"""What the hospital had told of a case: orders, studies, reports of radiologists. Which word counts is decided as the steps do."""

from __future__ import annotations

from schemas.case_store import OrderNumber, StudyState
from schemas.events import OrderEvent, OrderStatus, Priority, ReportAmended, ReportEvent, ReportSigned
from schemas.findings import OrderReference
from schemas.study_events import StudyCompleted
from streams.case_state import current
from streams.cases.items import Order, Report, Study
from streams.cases.reading import Lines, of_kind
from streams.linking import reference_of, whole_references
from streams.order_lines import agree, with_accession_now
from streams.order_of_truth import by_sender, last_words


def orders_of(lines: Lines) -> list[Order]:
    """Each by all its numbers, with the newest word of each sender: cancelled is who any of them cancels (rule 8)."""
    told = of_kind(OrderEvent, lines)
    records = {line.value.id: line.record for line in reversed(told)}
    events = with_accession_now([line.value for line in told])
    found = []
    for reference in whole_references(map(reference_of, events)):
        here = [event for event in events if agree(_numbers(event), _numbers(reference))]
        words = last_words(here)
        last = next((event for event in words if event.status is OrderStatus.CANCELLED), words[-1])
        record = records[last.id]
        placer, filler, accession = (None if number is None else str(number) for number in _numbers(reference))
        found.append(
            Order(
                record.timestamp,
                record.place,
                placer_order_number=placer,
                filler_order_number=filler,
                accession_number=accession,
                status=last.status,
                priority=Priority.STAT if any(event.priority is Priority.STAT for event in here) else Priority.ROUTINE,
                sender=last.sender.key,
                occurred_at=last.sender.occurred_at,
            )
        )
    return found


def _numbers(one: OrderEvent | OrderReference) -> tuple[OrderNumber | None, OrderNumber | None, OrderNumber | None]:
    return one.placer_order_number, one.filler_order_number, one.accession_number


def studies_of(lines: Lines) -> list[Study]:
    """Each as the archive last told it."""
    told = of_kind(StudyCompleted, lines)
    found = []
    for uid in dict.fromkeys(line.value.study_instance_uid for line in told):
        now = current(StudyState(tuple(line.value for line in told if line.value.study_instance_uid == uid)))
        record = next(line.record for line in told if line.value.id == now.id)
        found.append(Study(record.timestamp, record.place, uid, len(now.images), now.revision, now.source, now.gone))
    return found


def reports_of(lines: Lines) -> list[Report]:
    """Each with the newest word of its sender."""
    told = of_kind(ReportEvent, lines)
    records = {line.value.id: line.record for line in reversed(told)}
    reports: dict[object, list[ReportEvent]] = {}
    for event in (line.value for line in told):
        numbers = event.placer_order_number, event.filler_order_number, event.accession_number
        reports.setdefault((event.sender.key, numbers, event.service_code), []).append(event)
    found = []
    for events in reports.values():
        (words,) = by_sender(events).values()
        last = words[-1][1]
        record = records[last.id]
        found.append(
            Report(
                record.timestamp,
                record.place,
                state="amended" if isinstance(last, ReportAmended) else "signed" if isinstance(last, ReportSigned) else "drafted",
                result_status=last.result_status,
                sender=last.sender.key,
                service_code=last.service_code,
                versions=len({event.id for event in events}),
                occurred_at=last.sender.occurred_at,
            )
        )
    return found
