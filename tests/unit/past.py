"""A log as the real steps have written it, from messages and studies; and who remembers what belongs to which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.case_store import CaseStore
from schemas.events import RAW_MESSAGE_TYPE
from schemas.findings import Findings, ModelIdentity
from schemas.hl7v2.site import Site
from schemas.identifiers import AccessionNumber, PatientIdentifier, identity_text
from schemas.ports import EventLog, Outgoing, Place, Record
from schemas.study_events import AnalysisRequested, StudyCompleted
from streams import topics
from streams.case_state import Policy
from streams.emission import HL7_ER7, emit, emit_findings, headers
from streams.steps.correlate import TOPICS as CORRELATED
from streams.steps.correlate import correlate
from streams.steps.normalise import normalise
from streams.steps.project import TOPICS as PROJECTED
from streams.steps.project import project
from streams.topics import Topic
from tests.contract.example_findings import two_findings
from tests.unit.cases import NOON, study

SITE = Site(default_assigner="HOSPITAL")
ALL_TOPICS = tuple(topic.name for topic in topics.ALL)


def order_message(placer: str, accession: str, patient: str = "4711", *, control: str = "", sender: str = "HIS|H") -> str:
    """ORM^O01; without an accession number the filler has not answered yet."""
    header = f"MSH|^~\\&|{sender}|||20261124120000||ORM^O01|{control or placer}|P|2.5.1\rPID|||{patient}^^^HOSPITAL\r"
    return header + f"ORC|{'SC' if control else 'NW'}|{placer}^HIS\rOBR|1|{placer}^HIS|{'|' * 15}{accession}\r"


def merge_message(prior: str, into: str) -> str:
    """ADT^A40."""
    header = f"MSH|^~\\&|ADT|H|||20261124120000||ADT^A40|{prior}{into}|P|2.5.1\r"
    return header + f"PID|||{into}^^^HOSPITAL\rMRG|{prior}^^^HOSPITAL\r"


def unlink_message(one: str, other: str) -> str:
    """ADT^A37."""
    header = f"MSH|^~\\&|ADT|H|||20261124120000||ADT^A37|{one}{other}|P|2.5.1\r"
    return header + f"PID|||{one}^^^HOSPITAL\rPID|||{other}^^^HOSPITAL\r"


def update_message(patient: str) -> str:
    """ADT^A08 with one identifier."""
    return f"MSH|^~\\&|ADT|H|||20261124120000||ADT^A08|A08{patient}|P|2.5.1\rPID|||{patient}^^^HOSPITAL\r"


def completed(uid: str, accession: str | None, patient: str = "4711", at: float = 0) -> StudyCompleted:
    """What the archive says, with the numbers as the messages have them."""
    owner = PatientIdentifier(value=patient, assigner="HOSPITAL")
    number = None if accession is None else AccessionNumber(value=accession, assigner="HOSPITAL")
    return study(uid, accession=accession, at=at, patient=owner).model_copy(update={"accession_number": number})


@dataclass
class Past:
    """`cases`: what correlate uses; `view`: where it is projected, None: nowhere. `stamp`: when a record was written."""

    log: EventLog
    cases: CaseStore
    view: CaseStore | None
    stamp: Callable[[Place], datetime]
    model: str = "chest-nodule/1"
    policy: Policy = field(default_factory=Policy)

    async def message(self, text: str) -> Place:
        """Where it stands."""
        parts = text.split("|")
        key = f"{parts[2]}|{parts[3]}"
        told = headers(
            id=identity_text("hl7v2-message", key, text), type=RAW_MESSAGE_TYPE, time=NOON, cause=None, content_type=HL7_ER7
        )
        (place,) = await self.put(Outgoing(topics.HL7_RAW.name, key.encode(), text.encode(), told))
        return place

    async def completed(self, event: StudyCompleted) -> Place:
        """Where it stands."""
        (place,) = await self.put(emit(topics.STUDIES, str(event.study_instance_uid), event, None))
        return place

    async def put(self, *outs: Outgoing) -> Sequence[Place]:
        """And all that it leads to."""
        places = await self.log.append(outs)
        for out, place in zip(outs, places, strict=True):
            record = Record(place, out.key, out.value, out.headers, self.stamp(place))
            if self.view is not None and place.topic in PROJECTED:
                await project(record, cases=self.view)
            await self.put(*await self._led_to(record))
        return places

    async def _led_to(self, record: Record) -> Sequence[Outgoing]:
        topic = record.place.topic
        if topic == topics.HL7_RAW.name:
            return await normalise(record, site=SITE)
        if topic in (topics.REQUESTS.name, topics.REQUESTS_STAT.name):
            return [emit_findings(self._answer(AnalysisRequested.model_validate_json(record.value)), record)]
        return await correlate(record, cases=self.cases, policy=self.policy) if topic in _names(CORRELATED) else ()

    def _answer(self, request: AnalysisRequested) -> Findings:
        name, _, version = self.model.partition("/")
        model = ModelIdentity(name=name, version=version, weights_sha256="a" * 64)
        return two_findings(request.subject).model_copy(update={"analysis_id": request.id, "model": model})


def _names(of: Sequence[Topic]) -> set[str]:
    return {topic.name for topic in of}
