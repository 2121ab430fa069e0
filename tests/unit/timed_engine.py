"""The steps over a log whose records have the times that they are given, and what was known there at a moment."""

from __future__ import annotations

from dataclasses import replace

from connectors.case_store import SqlCaseStore
from schemas.hl7v2.site import Site
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing, Record
from streams import topics
from streams.case_state import Policy
from streams.cases.known import Known, known_then
from streams.cases.linked import case_of
from streams.deliveries import delivered
from streams.demo.orders import order_for
from streams.emission import emit, emit_findings
from streams.sequences import next_after
from streams.steps.correlate import correlate
from streams.steps.normalise import normalise
from streams.steps.project import TOPICS, project
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.answers import answer_to
from tests.unit.cases import minutes, person, study

SITE = Site(default_assigner="RIS")
UID = "1.2.3"
FIRST, SECOND = next_after(0), next_after(next_after(0))


class Engine:
    """The steps one after the other, each record at the minute that it is given; a message and what it leads to a little apart."""

    def __init__(self, cases: SqlCaseStore) -> None:
        self.cases = cases
        self.log = FakeEventLog(*(topic.name for topic in topics.ALL))
        self.history = FakeHistory(self.log)

    async def write(self, at: float, out: Outgoing) -> Record:
        (place,) = await self.log.append([out])
        partition = self.log.topics[place.topic][place.partition]
        partition[-1] = record = replace(partition[-1], timestamp=minutes(at))
        if out.topic in TOPICS:
            await project(record, cases=self.cases)
        return record

    async def message(self, at: float, raw: bytes, *, used: float | None = None) -> Record:
        """`used`: when what is made of it is written."""
        record = await self.write(at, Outgoing(topics.HL7_RAW.name, b"HIS|HOSPITAL", raw))
        for out in await normalise(record, site=SITE):
            await self.reads(at + 0.1 if used is None else used, out)
        return record

    async def reads(self, at: float, out: Outgoing) -> Record:
        """It is written, and correlated."""
        record = await self.write(at, out)
        for led_to in await correlate(record, cases=self.cases, policy=Policy()):
            await self.write(at + 0.1, led_to)
        return record

    async def then(self, at: float, accession: str = "A1") -> Known:
        return await known_then(await case_of(accession, self.cases), self.history, minutes(at), SITE)

    def last(self, topic: topics.Topic) -> Record:
        return max(self.log.records(topic.name), key=lambda record: record.timestamp)


def order(at: float, order_control: str = "NW", control_id: str = "MSG1", accession: str | None = "A1", **more: str) -> bytes:
    more = {"control_id": control_id, "order_control": order_control, **more}
    return order_for(accession, patient="4711", assigner="RIS", at=minutes(at), **more)


def words(known: Known, section: str) -> list[str]:
    return [item.words(lambda at: f"{at:%H:%M}") for item in known.sections[section]]


async def analysed(engine: Engine) -> None:
    """Order at minute 0, study at 2, answer at 3, delivered at 4."""
    await engine.message(0, order(0))
    await engine.reads(2, emit(topics.STUDIES, UID, study(accession="A1", at=2, patient=person("4711", "RIS")), None))
    request = engine.last(topics.REQUESTS)
    findings = answer_to(Outgoing(request.place.topic, request.key, request.value, request.headers))
    answer = await engine.reads(3, emit_findings(findings, request))
    number, uid = findings.subject.sequence, StudyInstanceUID(UID)
    held = delivered(answer, "fhir", uid, findings.analysis_id, number, minutes(4), "stored", "DiagnosticReport/1/_history/1")
    await engine.write(4, held)
