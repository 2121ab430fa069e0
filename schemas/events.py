"""One frozen class per kind of event, versioned; the JSON value of a record is exactly `event.model_dump_json()`.

`id` and `time` are the CloudEvents attributes of the same names: the id is a UUIDv5 of what the event is about, the time
comes from the record that caused it. So the same cause gives the same bytes, however often it is processed.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import chain
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.findings import OrderReference
from schemas.identifiers import (
    AccessionNumber,
    FillerOrderNumber,
    PatientIdentifier,
    PlacerOrderNumber,
    StudyInstanceUID,
)


class Event(BaseModel):
    """Base of all events. `TYPE` is the CloudEvents type and ends with the version of the shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    TYPE: ClassVar[str]

    id: UUID
    time: AwareDatetime


class Sender(BaseModel):
    """MSH-3 and MSH-4, and what orders two messages of one sender (rule 8): the event's own time (ORC-9, OBR-22, EVN-6
    or EVN-2; else MSH-7), then MSH-13."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    application: str
    facility: str
    message_control_id: str
    occurred_at: AwareDatetime
    sequence_number: int | None = None

    @property
    def key(self) -> str:
        """The key of the sender on `hl7.v2.raw`."""
        return f"{self.application}|{self.facility}"


class OrderStatus(StrEnum):
    """ORC-5, HL7 v2.5.1 table 0038, reduced to what correlation needs."""

    PLACED = "placed"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    ON_HOLD = "on-hold"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """ORC-7.6, TQ1-9, OBR-27.6: S (STAT) or anything else."""

    STAT = "stat"
    ROUTINE = "routine"


class OrderEvent(Event):
    """An order as one ORC/OBR group of one message told it. At least one of the three numbers is there."""

    sender: Sender
    placer_order_number: PlacerOrderNumber | None = None
    filler_order_number: FillerOrderNumber | None = None
    accession_number: AccessionNumber | None = None
    #: ZDS-1 or IPC-3 when the sender names the study; a hint, not a join key
    study_instance_uid: StudyInstanceUID | None = None
    patients: tuple[PatientIdentifier, ...] = ()
    #: OBR-4.1, .2, .3
    service_code: str | None = None
    service_text: str | None = None
    service_coding_system: str | None = None
    priority: Priority = Priority.ROUTINE
    status: OrderStatus = OrderStatus.PLACED
    #: of an ORC-1 RO: the orders (RP, RU, RQ of the same message) that this one stands for from now on
    replaces: tuple[OrderReference, ...] = ()


class OrderPlaced(OrderEvent):
    """ORC-1 NW, SN, RO ..."""

    TYPE: ClassVar[str] = "org.radstream.order.placed.v1"


class OrderChanged(OrderEvent):
    """ORC-1 XO, SC ..."""

    TYPE: ClassVar[str] = "org.radstream.order.changed.v1"


class OrderCancelled(OrderEvent):
    """ORC-1 CA, OC, DC."""

    TYPE: ClassVar[str] = "org.radstream.order.cancelled.v1"
    status: OrderStatus = OrderStatus.CANCELLED


class Attachment(BaseModel):
    """That an OBX holds encapsulated data (ED, v2.5.1 2.A.24) or points to it (RP, 2.A.65); the data stay in the message."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_type: Literal["ED", "RP"]
    #: OBX-3.1
    observation: str = ""
    #: ED.2, RP.3, table 0191: Application, TEXT, Image ...
    type: str = ""
    #: ED.3, RP.4, table 0291: PDF ...
    subtype: str = ""
    #: ED.4, table 0299: A, Hex, Base64
    encoding: str = ""
    #: characters of ED.5 as sent
    length: Annotated[int, Field(ge=0)] = 0
    #: RP.1
    pointer: str = ""


class ReportEvent(Event):
    """A radiologist's report as one OBR group of an ORU^R01 told it; `text` is the OBX-5 lines, `addendum` those that were
    added to the report later. No text may mean "as before": OBX-11 U signs without sending it again."""

    sender: Sender
    placer_order_number: PlacerOrderNumber | None = None
    filler_order_number: FillerOrderNumber | None = None
    accession_number: AccessionNumber | None = None
    patients: tuple[PatientIdentifier, ...] = ()
    service_code: str | None = None
    #: OBR-25 as sent
    result_status: str = ""
    text: str = ""
    addendum: str = ""
    attachments: tuple[Attachment, ...] = ()


class ReportDrafted(ReportEvent):
    """OBR-25 P, I, R ..."""

    TYPE: ClassVar[str] = "org.radstream.report.drafted.v1"


class ReportSigned(ReportEvent):
    """OBR-25 F."""

    TYPE: ClassVar[str] = "org.radstream.report.signed.v1"


class ReportAmended(ReportEvent):
    """OBR-25 C, or F with an addendum."""

    TYPE: ClassVar[str] = "org.radstream.report.amended.v1"


class PatientEvent(Event):
    """What a sender says of patients; `patients` is PID-3."""

    sender: Sender
    patients: tuple[PatientIdentifier, ...]

    @property
    def identifier_lists(self) -> tuple[tuple[PatientIdentifier, ...], ...]:
        """Patient Identifier List (PID-3) and, where there is one, Prior Patient Identifier List (MRG-1) or the second PID-3."""
        return (self.patients,)

    @property
    def named(self) -> frozenset[PatientIdentifier]:
        """All identifiers that the event names."""
        return frozenset(chain.from_iterable(self.identifier_lists))


class PatientUpdated(PatientEvent):
    """ADT A01 A04 A05 A08 A31."""

    TYPE: ClassVar[str] = "org.radstream.patient.updated.v1"


class _OfTwoPatients(PatientEvent):
    prior: tuple[PatientIdentifier, ...]

    @property
    def identifier_lists(self) -> tuple[tuple[PatientIdentifier, ...], ...]:
        return self.patients, self.prior


class PatientMerged(_OfTwoPatients):
    """ADT A18 A34 A40 A47: `prior` (MRG-1) is from now on `patients`."""

    TYPE: ClassVar[str] = "org.radstream.patient.merged.v1"


class PatientUnlinked(_OfTwoPatients):
    """ADT A37: `patients` (the first PID) and `prior` (the second) are, from now on, two persons: what was merged or updated
    before does not join them any more."""

    TYPE: ClassVar[str] = "org.radstream.patient.unlinked.v1"


#: by CloudEvents type
ORDER_EVENTS: dict[str, type[OrderEvent]] = {kind.TYPE: kind for kind in (OrderPlaced, OrderChanged, OrderCancelled)}
REPORT_EVENTS: dict[str, type[ReportEvent]] = {kind.TYPE: kind for kind in (ReportDrafted, ReportSigned, ReportAmended)}
PATIENT_EVENTS: dict[str, type[PatientEvent]] = {kind.TYPE: kind for kind in (PatientUpdated, PatientMerged, PatientUnlinked)}


#: CloudEvents types of the two values that are no Event: `Findings` on ai.results, the FHIR Bundle on ai.findings
FINDINGS_TYPE = "org.radstream.findings.v1"
BUNDLE_TYPE = "org.radstream.findings.fhir-r4-bundle.v1"
#: of a message as received on hl7.v2.raw
RAW_MESSAGE_TYPE = "org.radstream.hl7v2.received.v1"


#: of an application answer (ER7) on hl7.v2.acknowledgements
ACKNOWLEDGEMENT_TYPE = "org.radstream.hl7v2.acknowledgement.v1"


class ErrorCondition(BaseModel):
    """One ERR segment (HL7 v2.5.1 2.15.5): ERR-3 `code` and `text` of table 0357, ERR-2 `location` as
    segment^sequence^field^repetition^component ("" for the whole message), ERR-8 `message`: what to know or do."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    code: str
    text: str
    location: str = ""
    message: str = ""


class MessageRejected(Event):
    """What the sender of a message on `hl7.v2.raw` would have been told over MLLP. `code` is MSA-1, `message_control_id` the
    sender's MSH-10 ("" when none could be read), `place` topic/partition/offset of the message."""

    TYPE: ClassVar[str] = "org.radstream.hl7v2.rejected.v1"
    message_control_id: str
    code: Literal["AE", "AR"]
    conditions: tuple[ErrorCondition, ...]
    place: str


class DeliveryAcknowledged(Event):
    """What a destination now holds of a study."""

    TYPE: ClassVar[str] = "org.radstream.delivery.acknowledged.v1"
    destination: str
    study_instance_uid: StudyInstanceUID
    analysis_id: UUID
    sequence: Annotated[int, Field(ge=1)]
    #: "stored": sent and acknowledged; "superseded": not sent, the destination already holds a later state
    outcome: Literal["stored", "superseded"]
    #: what the destination answered: e.g. "DiagnosticReport/<id>/_history/2"
    acknowledgement: str = ""
