"""Whatever order a request, its answers, the signed report, a recall and a cancellation are read in, and however often: the last
state is the same, and so is whether a discrepancy is open."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.discrepancies import DiscrepancyEvent, DiscrepancyOpened
from schemas.events import OrderStatus, ReportDrafted, ReportSigned
from schemas.findings import Findings, NotAnalysedReason
from schemas.ports import Outgoing, Record
from schemas.study_events import revision_of
from streams.case_state import Policy
from tests.contract.example_findings import MODEL
from tests.unit.answers import ORDER, answer_to, record, result
from tests.unit.cases import CaseEvent, Hospital, image, minutes, order, reason, recall, report, said, study
from tests.unit.discrepancies import discrepancies
from tests.unit.receiver import Receiver

SIGNED = report(ReportSigned, accession="A1", at=10)
DRAFTED = report(ReportDrafted, accession="A1", at=8)
RECALL = recall(MODEL.name, MODEL.version, at=11)
CANCELLED = order(placer="P1", accession="A1", at=12, status=OrderStatus.CANCELLED)
GROWN = study(at=2, images=2)
GROWN_REVISION = revision_of((image(1), image(2)))
#: the signed report is the first
EVENTS: tuple[CaseEvent, ...] = (SIGNED, DRAFTED, RECALL, CANCELLED, GROWN)
BEFORE, AFTER = 9.0, 15.0


class Engine:
    """`came`: when the answers of the first and of the second revision came to the log, in minutes."""

    def __init__(self, hospital: Hospital, came: tuple[float, float]) -> None:
        self.hospital = hospital
        self.results: list[Record] = []
        self.discrepancies: list[DiscrepancyEvent] = []
        self._came = came
        self._asked: list[Outgoing] = []
        self._unread = 0

    async def happens(self, event: CaseEvent) -> None:
        self._write(await self.hospital.happens(event))

    def answers(self) -> None:
        for request in self._asked:
            came = self._came[said(request).subject.revision == GROWN_REVISION]
            self.results.append(record(result(answer_to(request)), len(self.results), at=came))
        self._asked = []

    async def reads(self) -> None:
        if self._unread < len(self.results):
            self._unread += 1
            await self.reads_again(self._unread - 1)

    async def reads_again(self, number: int) -> None:
        """Any of those that were read."""
        if number < self._unread:
            self._write(await self.hospital.reads(self.results[number]))

    async def sweeps(self, at: float) -> None:
        self._write(await self.hospital.time_passes(at))

    async def settles(self) -> None:
        self.answers()
        while self._unread < len(self.results) or await self.hospital.due(999):
            while self._unread < len(self.results):
                await self.reads()
            await self.sweeps(999)
            self.answers()

    def _write(self, outs: Sequence[Outgoing]) -> None:
        for out in outs:
            if out.topic == "ai.results":
                self.results.append(record(out, len(self.results), at=20))
            elif out.topic == "ai.discrepancies":
                self.discrepancies += discrepancies([out])
            elif out.value not in [one.value for one in self._asked]:
                self._asked.append(out)

    def last(self) -> Findings:
        """As receivers see it: the state with the highest number."""
        told = [Findings.model_validate_json(one.value) for one in self.results]
        return max(told, key=lambda one: one.subject.sequence)

    def open(self) -> set[str]:
        """By the last word about each."""
        last = {event.discrepancy_id: event for event in self.discrepancies}
        return {str(id) for id, event in last.items() if isinstance(event, DiscrepancyOpened)}


def expected(happened: set[CaseEvent], came: tuple[float, float]) -> tuple[NotAnalysedReason | None, datetime | None]:
    """The last state."""
    if CANCELLED in happened:
        return NotAnalysedReason.ORDER_CANCELLED, None
    if RECALL in happened:
        return NotAnalysedReason.MODEL_RECALLED, None
    marked = SIGNED in happened and came[GROWN in happened] == AFTER
    return None, minutes(10) if marked else None


_always = (("answer", 0), ("answer", 0), ("read", 0), ("read", 0), ("read", 0), ("again", 0), ("again", 2), ("sweep", 0))
#: mostly with a signed report and one thing or two besides: of all at once little is left to see
_others = st.lists(st.sampled_from([1, 2, 2, 3, 4]), unique=True, max_size=2)
_happening = st.tuples(st.sampled_from(([0], [0], [0, 0], [])), _others).map(lambda both: [*both[0], *both[1], *both[1][:1]])
_acts = _happening.flatmap(lambda some: st.permutations([*(("event", number) for number in some), *_always]))
_came = st.sampled_from((AFTER, AFTER, BEFORE))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=_acts, first=_came, second=_came)
def test_the_last_state_is_the_same(acts: list[tuple[str, int]], first: float, second: float) -> None:
    came = first, second
    happened = {EVENTS[number] for act, number in acts if act == "event"}

    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
            engine = Engine(Hospital(store, Policy(escalate_after=timedelta(days=9))), came)
            for event in (ORDER, study(at=1)):
                await engine.happens(event)
            for act, number in acts:
                if act == "event":
                    await engine.happens(EVENTS[number])
                elif act == "sweep":
                    await engine.sweeps(14)
                elif act == "read":
                    await engine.reads()
                elif act == "again":
                    await engine.reads_again(number)
                else:
                    engine.answers()
            await engine.settles()
            await _holds(engine, happened, came, again=False)
            for number in range(len(engine.results)):  # all once more: nothing changes
                await engine.reads_again(number)
            for one in happened:
                await engine.happens(one)
            await engine.settles()
            await _holds(engine, happened, came, again=True)
            await store.close()

    asyncio.run(live())


async def _holds(engine: Engine, happened: set[CaseEvent], came: tuple[float, float], *, again: bool) -> None:
    why, verified_at = expected(happened, came)
    last = engine.last()
    assert (reason(last), last.verified_at) == (why, verified_at)
    assert len(engine.open()) == (verified_at is not None)
    by_number: dict[int, bytes] = {}
    for one in engine.results:  # a number is of one state, and of one answer
        said_of = Findings.model_validate_json(one.value)
        assert by_number.setdefault(said_of.subject.sequence, one.value) == one.value
    if again:
        return
    receiver = Receiver(engine.hospital)
    await receiver.hears(*(Outgoing(one.place.topic, one.key, one.value, one.headers) for one in reversed(engine.results)))
    assert (receiver.report["status"], receiver.live) == (("partial", 3) if why is None else ("cancelled", 0))
