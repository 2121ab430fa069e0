"""Orders, studies and a case store to try correlation with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import uuid5

from schemas.case_store import CaseStore, Due
from schemas.discrepancies import DiscrepancyAcknowledged
from schemas.events import (
    Event,
    OrderCancelled,
    OrderChanged,
    OrderEvent,
    OrderPlaced,
    OrderStatus,
    PatientEvent,
    PatientMerged,
    PatientUnlinked,
    PatientUpdated,
    Priority,
    ReportEvent,
    Sender,
)
from schemas.findings import Findings, NotAnalysedReason, OrderReference
from schemas.identifiers import (
    NAMESPACE,
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    SeriesInstanceUID,
    SOPInstanceUID,
    StudyInstanceUID,
)
from schemas.model_events import ModelRecalled
from schemas.ports import Outgoing, Place, Record
from schemas.study_events import AnalysisRequested, ImageReference, StudyCompleted, revision_of
from streams.case_state import Policy
from streams.discrepancies import ESCALATION, not_acknowledged_in_time
from streams.emission import emit
from streams.late import DEADLINE
from streams.recalls import RECALL, recall_goes_on
from streams.sequences import next_after
from streams.steps.correlate import correlate, deadline_passed, order_wait_over
from streams.topics import DISCREPANCIES, MODELS, ORDERS, PATIENTS, REPORTS, STUDIES, Topic

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
JANE = PatientIdentifier(value="4711", assigner="HOSPITAL")
JOHN = PatientIdentifier(value="0815", assigner="HOSPITAL")

CaseEvent = OrderEvent | PatientEvent | StudyCompleted | ReportEvent | ModelRecalled | DiscrepancyAcknowledged


def minutes(count: float) -> datetime:
    return NOON + timedelta(minutes=count)


def order(
    *,
    placer: str | None = None,
    filler: str | None = None,
    accession: str | None = None,
    at: float = 0,
    sender: str = "HIS",
    patients: tuple[PatientIdentifier, ...] = (JANE,),
    status: OrderStatus = OrderStatus.PLACED,
    priority: Priority = Priority.ROUTINE,
    sequence_number: int | None = None,
    changed: bool = False,
    replaces: tuple[OrderReference, ...] = (),
) -> OrderEvent:
    """`at`: minutes after noon, both occurred and received; `changed`: ORC-1 XO, as every other status than placed."""
    kind: type[OrderEvent] = {OrderStatus.PLACED: OrderPlaced, OrderStatus.CANCELLED: OrderCancelled}.get(status, OrderChanged)
    kind = OrderChanged if changed else kind
    told = f"{placer} {filler} {accession} {at} {sender} {status} {sequence_number} {kind.TYPE}"
    return kind(
        id=uuid5(NAMESPACE, told),
        time=minutes(at),
        sender=_sender(sender, told, at, sequence_number),
        placer_order_number=PlacerOrderNumber(value=placer, assigner="HIS") if placer else None,
        filler_order_number=FillerOrderNumber(value=filler, assigner="RIS") if filler else None,
        accession_number=AccessionNumber(value=accession, assigner="RIS") if accession else None,
        patients=patients,
        status=status,
        priority=priority,
        replaces=replaces,
    )


def person(number: str, assigner: str = "HOSPITAL") -> PatientIdentifier:
    return PatientIdentifier(value=number, assigner=assigner)


def update(*patients: PatientIdentifier, at: float = 0, sender: str = "HIS", msh13: int | None = None) -> PatientUpdated:
    """A08."""
    told = f"A08 {[one.value for one in patients]} {at} {sender} {msh13}"
    return PatientUpdated(id=uuid5(NAMESPACE, told), time=minutes(at), sender=_sender(sender, told, at, msh13), patients=patients)


def merge(*prior: PatientIdentifier, into: Sequence[PatientIdentifier], at: float = 0, sender: str = "HIS") -> PatientMerged:
    """A40."""
    told = f"A40 {[one.value for one in prior]} {[one.value for one in into]} {at} {sender}"
    return PatientMerged(
        id=uuid5(NAMESPACE, told), time=minutes(at), sender=_sender(sender, told, at), patients=tuple(into), prior=prior
    )


def unlink(
    one: Sequence[PatientIdentifier], other: Sequence[PatientIdentifier], *, at: float = 0, sender: str = "HIS"
) -> PatientUnlinked:
    """A37."""
    told = f"A37 {[each.value for each in one]} {[each.value for each in other]} {at} {sender}"
    return PatientUnlinked(
        id=uuid5(NAMESPACE, told), time=minutes(at), sender=_sender(sender, told, at), patients=tuple(one), prior=tuple(other)
    )


def report(
    kind: type[ReportEvent],
    *,
    placer: str | None = None,
    filler: str | None = None,
    accession: str | None = None,
    at: float = 0,
    occurred: float | None = None,
    sender: str = "RIS",
    service: str | None = None,
) -> ReportEvent:
    """A radiologist's report; `at`: minutes after noon when it was received, `occurred`: OBR-22 (None: then too)."""
    told = f"{kind.TYPE} {placer} {filler} {accession} {at} {occurred} {sender} {service}"
    return kind(
        id=uuid5(NAMESPACE, told),
        time=minutes(at),
        sender=_sender(sender, told, at if occurred is None else occurred),
        placer_order_number=PlacerOrderNumber(value=placer, assigner="HIS") if placer else None,
        filler_order_number=FillerOrderNumber(value=filler, assigner="RIS") if filler else None,
        accession_number=AccessionNumber(value=accession, assigner="RIS") if accession else None,
        patients=(JANE,),
        service_code=service,
    )


def recall(name: str, version: str, *, at: float = 0) -> ModelRecalled:
    return ModelRecalled(
        id=uuid5(NAMESPACE, f"recall {name} {version} {at}"),
        time=minutes(at),
        name=name,
        version=version,
        approved_by="Dr B",
        reason="it misses what lies behind the heart",
    )


def _sender(application: str, message_control_id: str, at: float, sequence_number: int | None = None) -> Sender:
    return Sender(
        application=application,
        facility="F",
        message_control_id=message_control_id,
        occurred_at=minutes(at),
        sequence_number=sequence_number,
    )


def image(number: int) -> ImageReference:
    return ImageReference(
        series_instance_uid=SeriesInstanceUID("1.2.1"),
        sop_instance_uid=SOPInstanceUID(f"1.2.1.{number}"),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
    )


def study(
    uid: str = "1.2.3",
    *,
    accession: str | None = "A1",
    at: float = 0,
    images: int = 1,
    patient: PatientIdentifier | None = JANE,
    source: str = "orthanc:changes",
    taken: date | None = None,
    sent_by: str | None = None,
) -> StudyCompleted:
    """`taken`: Study Date; `sent_by`: the source AE title."""
    pictures = tuple(image(number) for number in range(1, images + 1))
    return StudyCompleted(
        id=uuid5(NAMESPACE, f"{uid} {accession} {at} {images} {source} {taken} {sent_by}"),
        time=minutes(at),
        study_instance_uid=StudyInstanceUID(uid),
        accession_number=AccessionNumber(value=accession, assigner="RIS") if accession else None,
        patient=patient,
        images=pictures,
        revision=revision_of(pictures),
        source=source,
        study_date=taken,
        source_ae_title=sent_by,
    )


def gone(uid: str = "1.2.3", *, at: float = 0, source: str = "qido") -> StudyCompleted:
    """The archive holds it no more, and says neither number nor patient."""
    return study(uid, accession=None, at=at, images=0, patient=None, source=source).model_copy(update={"instance_count": 0})


_TOPICS: dict[type[Event], Topic] = {
    OrderEvent: ORDERS,
    PatientEvent: PATIENTS,
    StudyCompleted: STUDIES,
    ReportEvent: REPORTS,
    ModelRecalled: MODELS,
    DiscrepancyAcknowledged: DISCREPANCIES,
}


def record_of(event: CaseEvent, offset: int = 0) -> Record:
    """As it would stand on its topic."""
    topic = next(topic for kind, topic in _TOPICS.items() if isinstance(event, kind))
    out = emit(topic, "key", event, None)
    return Record(Place(out.topic, 0, offset), out.key, out.value, out.headers, event.time)


def said(out: Outgoing) -> AnalysisRequested | Findings:
    """The value of an output."""
    if out.topic == "ai.results":
        return Findings.model_validate_json(out.value)
    return AnalysisRequested.model_validate_json(out.value)


def numbers(value: AnalysisRequested | Findings) -> list[str]:
    """The orders joined, as "placer filler accession"."""
    return [
        " ".join(
            "-" if number is None else number.value
            for number in (one.placer_order_number, one.filler_order_number, one.accession_number)
        )
        for one in value.subject.orders
    ]


def follows(value: AnalysisRequested | Findings, before: AnalysisRequested | Findings | None) -> bool:
    """Whether it is the state told next."""
    return value.subject.sequence == next_after(before.subject.sequence if before else 0)


def reason(value: AnalysisRequested | Findings) -> NotAnalysedReason | None:
    """Why not."""
    return value.not_analysed.reason if isinstance(value, Findings) and value.not_analysed else None


@dataclass
class Hospital:
    """What happens in a hospital, one record after the other."""

    cases: CaseStore
    policy: Policy = field(default_factory=Policy)
    offset: int = 0

    async def happens(self, event: CaseEvent) -> list[Outgoing]:
        self.offset += 1
        return await self.reads(record_of(event, self.offset))

    async def reads(self, record: Record) -> list[Outgoing]:
        return list(await correlate(record, cases=self.cases, policy=self.policy))

    async def answers(self, event: CaseEvent) -> list[AnalysisRequested | Findings]:
        return [said(out) for out in await self.happens(event)]

    async def answer(self, event: CaseEvent) -> AnalysisRequested | Findings:
        (one,) = await self.answers(event)
        return one

    async def due(self, at: float) -> Sequence[Due]:
        return await self.cases.due_before(minutes(at))

    async def time_passes(self, to: float) -> list[Outgoing]:
        """What the sweeper does, without a log."""
        outputs: list[Outgoing] = []
        for item in await self.due(to):
            timer = {DEADLINE: deadline_passed, ESCALATION: not_acknowledged_in_time, RECALL: recall_goes_on}.get(item.reason)
            if timer is not None:
                outputs += await timer(item, minutes(to), cases=self.cases)
            else:
                outputs += await order_wait_over(item, minutes(to), cases=self.cases, policy=self.policy)
            await self.cases.remove_due(item.id)
        return outputs
