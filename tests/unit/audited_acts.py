"""A log on which people and the engine did one of everything."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.acts import (
    Act,
    DeadLetterDiscarded,
    DeadLetterResent,
    Looked,
    ReplayBegun,
    ReplayPublished,
    ReplayRemoved,
    SettingsChanged,
)
from schemas.discrepancies import DiscrepancyAcknowledged
from schemas.errors import MalformedMessage
from schemas.events import DeliveryAcknowledged, Event, OrderPlaced, Sender
from schemas.findings import Findings
from schemas.identifiers import AccessionNumber, PatientIdentifier, StudyInstanceUID, identity
from schemas.model_events import ModelPromoted, ModelRecalled, ModelShadowed
from schemas.ports import Outgoing, Place, Record
from streams import topics
from streams.audit.keyed import hashed_accession_number
from streams.dead_letter import dead_letter
from streams.emission import emit, emit_findings, headers
from tests.contract.example_findings import two_findings
from tests.contract.fake_event_log import START, FakeEventLog
from tests.contract.fake_history import FakeHistory

KEY = bytes(32)
FINDINGS: Findings = two_findings()
STUDY: StudyInstanceUID = FINDINGS.subject.study_instance_uid
PATIENT = FINDINGS.subject.patient
assert PATIENT is not None
SENDER = Sender(application="RIS", facility="A", message_control_id="1", occurred_at=START)
MESSAGE = (
    b"MSH|^~\\&|RIS|A|||20260101000000||ORM^O01|1|P|2.5.1\r"
    b"PID|1||MRN-1^^^HOSPITAL~ALT-1^^^OTHER||DOE^JANE\r"
    b"ORC|NW|PL-1\rOBR|1|PL-1|ACC-1|71020\r"
)
ORDER_PATIENT = PatientIdentifier(value="MRN-1", assigner="HOSPITAL")


class Yesterday:
    """A log, its history, and where each record went."""

    def __init__(self) -> None:
        self.log = FakeEventLog(*(topic.name for topic in topics.ALL))
        for topic in topics.ALL:
            self.log.create(topic.name, topic.partitions)
        self.history = FakeHistory(self.log)

    def at(self, place: Place) -> Record:
        return self.log.topics[place.topic][place.partition][place.offset]

    async def put(self, outgoing: Outgoing) -> Record:
        (place,) = await self.log.append([outgoing])
        return self.at(place)

    async def act(self, event: Event, about: str = "about") -> Record:
        return await self.put(emit(topics.AUDIT, about, event, None))


def act(kind: type[Act], *, at: datetime = START, **known: Any) -> Act:
    about = {"id": identity("test-act", kind.TYPE, *map(str, known.values())), "time": at, "by": "A. Lin", "reason": "asked to"}
    return kind(**about | known)


async def walked(day: Yesterday) -> tuple[Record, Record, Record]:
    """Message -> order -> answer -> delivery: the message, the answer, the delivery."""
    told = headers(
        id="m-1", type="org.radstream.hl7v2.received.v1", time=START, cause=None, content_type="x-application/hl7-v2+er7"
    )
    message = await day.put(Outgoing(topics.HL7_RAW.name, b"RIS|A", MESSAGE, told))
    accession = AccessionNumber(value="ACC-1", assigner="HOSPITAL")
    ordered = OrderPlaced(id=UUID(int=1), time=START, sender=SENDER, accession_number=accession, patients=(ORDER_PATIENT,))
    order = await day.put(emit(topics.ORDERS, "ACC-1", ordered, message))
    answer = await day.put(emit_findings(FINDINGS, order))
    delivered = DeliveryAcknowledged(
        id=UUID(int=2),
        time=START,
        destination="fhir",
        study_instance_uid=STUDY,
        analysis_id=FINDINGS.analysis_id,
        sequence=16,
        outcome="stored",
        acknowledgement="DiagnosticReport/f5b1/_history/2",
    )
    return message, answer, await day.put(emit(topics.DELIVERIES, f"fhir|{STUDY}", delivered, answer))


async def one_of_everything(day: Yesterday) -> None:
    """What each topic of the audit can hold."""
    message, answer, delivery = await walked(day)
    later = DeliveryAcknowledged.model_validate_json(delivery.value).model_copy(
        update={"id": UUID(int=3), "outcome": "superseded", "destination": "ward", "acknowledgement": ""}
    )
    await day.put(emit(topics.DELIVERIES, f"ward|{STUDY}", later, answer))
    letter = await day.put(dead_letter(message, "normalise", MalformedMessage("normalise", "ORC-1", "is none"), 1))
    subject = hashed_accession_number(KEY, "ACC-1")
    await day.act(act(Looked, what="case", subject=subject, places=(str(answer.place), str(message.place))))
    await day.act(act(Looked, what="tail", places=(str(message.place),), by="B. Chen"))
    await day.act(act(Looked, what="audit export"))
    await day.act(act(DeadLetterResent, outcome="begun", letter=str(letter.place), letter_id=UUID(int=5)))
    await day.act(act(DeadLetterDiscarded, letter=str(letter.place), letter_id=UUID(int=5)))
    await day.act(act(ReplayBegun, outcome="failed", replay="next", selection="{}", records=7, models=("chest-nodule/2",)))
    await day.act(act(ReplayRemoved, replay="next"))
    published = {"study_instance_uid": STUDY, "service": "chest-radiograph-findings", "analysis_id": FINDINGS.analysis_id}
    await day.act(act(ReplayPublished, replay="next", **published, sequence=19, replaced=16))
    await day.act(act(SettingsChanged, names=("RADSTREAM_FHIR__URL",), digests={"RADSTREAM_FHIR__URL": "a" * 64}, key="b" * 64))
    model: dict[str, Any] = {"time": START, "name": "chest-nodule", "version": "2", "approved_by": "Dr A", "reason": "better"}
    package = model | {"service": "chest-radiograph-findings", "weights_sha256": "a" * 64}
    await day.act(ModelPromoted(id=UUID(int=6), **package))
    await day.act(ModelShadowed(id=UUID(int=7), **package, sandbox="next"))
    await day.act(ModelRecalled(id=UUID(int=8), **model))
    acknowledged = published | {"discrepancy_id": UUID(int=9), "acknowledged_by": "Dr B", "reason": "seen"}
    await day.act(DiscrepancyAcknowledged(id=UUID(int=10), time=START, **acknowledged))
    tomorrow = headers(
        id=str(UUID(int=11)), type="org.radstream.tomorrow.v1", time=START, cause=None, content_type="application/json"
    )
    await day.put(Outgoing(topics.AUDIT.name, b"k", b"{}", tomorrow))
    await day.put(Outgoing(topics.DELIVERIES.name, b"k", b"no json", ()))
