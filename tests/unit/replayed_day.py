"""A replay of a small hospital's day on a log in memory, that can be killed at any append."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from schemas.events import FINDINGS_TYPE
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, Findings, NotAnalysed, NotAnalysedReason
from schemas.hl7v2.site import Site
from schemas.identifiers import AccessionNumber
from schemas.ports import Outgoing, Place, Record
from schemas.renderings.fhir.references import Site as ReportingSite
from schemas.study_events import AnalysisRequested
from streams import topics
from streams.case_state import Policy
from streams.demo.orders import order_for
from streams.due import Timer
from streams.emission import emit_findings, emit_value
from streams.replay.cascade import Cascade, Part
from streams.replay.clock import EventClock
from streams.replay.outbox import Outbox, sandbox_of
from streams.replay.running import Pace, Running, until_pause_is_asked, waiting
from streams.replay.snapshot import Snapshots
from streams.shadows.sandbox import SandboxLog
from streams.steps.correlate import TOPICS, correlate
from streams.steps.normalise import normalise
from streams.steps.report import report
from streams.wiring.walk import timers_for
from tests.contract import example_findings as example
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory
from tests.unit.cases import NOON, record_of, study

SITE = Site(default_assigner="HOSPITAL")
SANDBOX = sandbox_of("again")
REQUESTS = (topics.REQUESTS_STAT, topics.REQUESTS, topics.REQUESTS_BULK)


class Killed(Exception):
    """As the process is by kill -9: nothing of ours runs any more."""


class Broker(FakeEventLog):
    """Of a replay. `kill_at`: the number of the append with which the process dies; the first records of it are written."""

    def __init__(self) -> None:
        super().__init__(*(topic.name for topic in topics.ALL))
        for topic in SANDBOX.topics:
            self.create(topic.name, topic.partitions)
        self.kill_at: int | None = None
        self.appends = 0

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        self.appends += 1
        if self.appends == self.kill_at:
            await super().append(records[: self.appends % (len(records) + 1)])
            raise Killed
        return await super().append(records)

    def said(self) -> dict[str, list[tuple[bytes | None, bytes, object]]]:
        """Everything in the sandbox."""
        names = [topic.name for topic in SANDBOX.topics]
        return {name: [(record.key, record.value, record.headers) for record in self.records(name)] for name in names}


def raw(number: int, message: bytes, at: datetime) -> Record:
    return Record(Place("hl7.v2.raw", 0, number), b"HIS|F", message, (), at)


def ordered(number: int, accession: str, at: datetime) -> Record:
    message = order_for(accession, patient="4711", assigner="HOSPITAL", at=at, control_id=f"C{number}")
    return raw(number, message, at)


def completed(number: int, accession: str | None, minute: float, *, chest: bool = False) -> Record:
    """`chest`: with an image that a model may see, as far as its headers say."""
    event = study(f"1.2.3.{number}", at=minute, accession=accession)
    if chest:
        (one,) = event.images
        told = {"modality": "DX", "body_part_examined": "CHEST", "view_position": "PA"}
        event = event.model_copy(update={"images": (one.model_copy(update=told),)})
    if accession is not None:
        event = event.model_copy(update={"accession_number": AccessionNumber(value=accession, assigner="HOSPITAL")})
    return record_of(event, number)


def day(studies: int = 6) -> list[Record]:
    """Studies; their orders, some of which come when the study was told without one; and a message that is none."""
    found = [raw(0, b"nonsense", NOON)]
    for number in range(1, studies + 1):
        minute = 3.0 * number
        late = 1.5 if number % 3 == 1 else -1
        found.append(completed(number, f"A{number}", minute))
        if number % 3:
            found.append(ordered(number, f"A{number}", NOON + timedelta(minutes=minute + late)))
    return sorted(found, key=lambda record: (record.timestamp, record.place.topic))


def repeated_day() -> list[Record]:
    """A report that was signed before its study was told, so that the answer is marked; and the order is sent again, twice: the
    engine says the same thing to the byte again."""
    order = order_for("A1", patient="4711", assigner="HOSPITAL", at=NOON, control_id="C1")

    def at(number: int) -> datetime:
        return NOON + timedelta(minutes=number)

    return [
        raw(0, order, at(0)),
        raw(1, _SIGNED, at(1)),
        completed(1, "A1", 2, chest=True),
        raw(2, order, at(3)),
        raw(3, order, at(4)),
        completed(2, "A2", 5, chest=True),
        raw(4, order, at(6)),
    ]


_SIGNED = (
    b"MSH|^~\\&|HIS|F|X|Y|20260101120100||ORU^R01|R1|P|2.5.1\rPID|1||4711^^^HOSPITAL||DOE^J\r"
    b"OBR|1|||71046^CXR^LN|||20260101120100|||||||||||A1||||20260101120100|||F\rOBX|1|TX|1^x||ok||||||F\r"
)


async def found(record: Record) -> Sequence[Outgoing]:
    """An answer with findings."""
    request = AnalysisRequested.model_validate_json(record.value)
    return [emit_findings(example.findings(request.subject, analysis_id=request.id), record)]


async def answer(record: Record) -> Sequence[Outgoing]:
    """What `analyse` writes, without images."""
    request = AnalysisRequested.model_validate_json(record.value)
    words = NotAnalysed(reason=NotAnalysedReason.NO_IMAGE, explanation="none")
    said = Findings(analysis_id=request.id, subject=request.subject, service=CHEST_RADIOGRAPH_FINDINGS, not_analysed=words)
    value, key = said.model_dump_json().encode(), request.subject.study_instance_uid
    return [emit_value(topics.RESULTS, key, value, id=request.id, type=FINDINGS_TYPE, time=request.time, cause=record)]


@dataclass
class Replay:
    """In `folder`, which outlives it as that of a process does."""

    broker: Broker
    folder: Path
    inputs: Sequence[Record]
    answered: Mapping[str, datetime] = field(default_factory=dict)
    analyse: Part = field(default_factory=lambda: Part("analyse", answer, REQUESTS, answers=True))
    policy: Policy = field(default_factory=lambda: Policy(deadline=timedelta(minutes=10)))
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    pause_is_asked: bool = False
    #: in the place of the engine's own
    timers: Mapping[str, Timer] = field(default_factory=dict)

    async def run(self, *, at_once: int = 4, every_inputs: int = 3) -> bool:
        """Until it is done (True), paused, or killed. A snapshot each `every_inputs`, records written `at_once`."""
        self.folder.mkdir(exist_ok=True)
        snapshots, history, clock = Snapshots(self.folder), FakeHistory(self.broker), EventClock()
        cases, state = await snapshots.begin()
        try:
            if state.now is not None:
                clock.advance(state.now)
            log, wait = SandboxLog(self.broker, SANDBOX), waiting(self.stop, 0.01)
            outbox = Outbox(log, history, SANDBOX, wait, state.put, records=at_once)
            await outbox.begin()
            cascade = Cascade(
                [
                    Part("normalise", partial(normalise, site=SITE), (topics.HL7_RAW,)),
                    Part("correlate", partial(correlate, cases=cases, policy=self.policy), TOPICS, sets_timers=True),
                    self.analyse,
                    Part("report", partial(report, site=ReportingSite("HOSPITAL"), positions=cases), (topics.RESULTS,)),
                ],
                outbox,
                clock,
                self.stop,
                timers={**timers_for(cases, self.policy), **self.timers},
                due=cases,
                answered=self.answered,
                coming=[one.coming() for one in state.coming],
                number=state.number,
                unexpected=state.unexpected,
            )
            running = Running(
                cascade,
                outbox,
                clock,
                snapshots,
                state,
                pace=Pace(None, monotonic=lambda: 0.0),
                stop=self.stop,
                tell=lambda done: None,
                every_inputs=every_inputs,
            )
            looking = asyncio.create_task(until_pause_is_asked(lambda: self.pause_is_asked, self.stop))
            try:
                return await running.run(self._left(state.done))
            finally:
                looking.cancel()
        finally:
            await cases.close()

    async def until_killed(self, at: int) -> None:
        """By its append number `at`, or to its end where it has fewer."""
        self.broker.kill_at = self.broker.appends + at
        with suppress(Killed):
            await self.run()
        self.broker.kill_at = None

    async def _left(self, done: int) -> AsyncIterator[Record]:
        for record in self.inputs[done:]:
            yield record
