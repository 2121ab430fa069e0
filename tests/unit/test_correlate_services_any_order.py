"""Several services speak of one study, whatever comes and in whatever order: none keeps a report that another state has ended."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.case_store import SqlCaseStore
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Outgoing
from schemas.study_events import AnalysisRequested, revision_of
from streams.case_state import Policy, value_of
from tests.contract.example_findings import DEVICES
from tests.unit.answers import ORDER, answer_to, record, result
from tests.unit.cases import JOHN, CaseEvent, Hospital, gone, image, said, study
from tests.unit.receiver import Receiver
from tests.unit.test_correlate_services import CANCELLED, USUAL


def _without_the_first(at: float) -> CaseEvent:
    left = (image(2),)
    return study(at=at).model_copy(update={"images": left, "revision": revision_of(left), "id": gone(at=at + 0.5).id})


EVENTS: tuple[CaseEvent, ...] = (
    ORDER,
    study(at=1),
    study(at=2, images=2),
    _without_the_first(3),
    study(at=4, patient=JOHN),
    study(at=5),
    CANCELLED,
    gone(at=7, source="orthanc:changes"),
)
SERVICES = (USUAL, DEVICES, "bones")


class Engine:
    """Services that answer each request, late or never; `correlate` reads what they say in the order of the log."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        self.log: list[Outgoing] = []
        self._asked: dict[str, list[Outgoing]] = {service: [] for service in SERVICES}
        self._unread = 0
        self.answered: set[tuple[str, int]] = set()

    async def happens(self, event: CaseEvent) -> None:
        self._write(await self.hospital.happens(event))

    def answers(self, service: str, *, at_all: bool) -> None:
        if self._asked[service]:
            request = self._asked[service].pop(0)
            if at_all:
                self.log.append(result(answer_to(request, service)))
                self.answered.add((service, said(request).subject.sequence))

    async def reads(self) -> None:
        if self._unread < len(self.log):
            self._unread += 1
            self._write(await self.hospital.reads(record(self.log[self._unread - 1], self._unread, at=20)))

    async def settles(self) -> None:
        """Nobody answers any more, and time passes."""
        while self._unread < len(self.log) or await self.hospital.due(999):
            while self._unread < len(self.log):
                await self.reads()
            self._write(await self.hospital.time_passes(999))

    def _write(self, outs: Sequence[Outgoing]) -> None:
        self.log += [out for out in outs if out.topic == "ai.results"]
        for asked in self._asked.values():
            asked += [out for out in outs if out.topic != "ai.results"]


_acts = st.one_of(
    st.tuples(st.just("event"), st.sampled_from(EVENTS)),
    st.tuples(st.sampled_from(["answer", "answer", "never"]), st.sampled_from(SERVICES)),
    st.tuples(st.just("read"), st.none()),
)


@asynccontextmanager
async def _hospital(awaited: bool) -> AsyncIterator[Hospital]:
    with tempfile.TemporaryDirectory() as folder:
        store = SqlCaseStore(f"sqlite:///{Path(folder) / 'cases.db'}")
        yield Hospital(store, Policy(deadline=timedelta(minutes=10), services=(DEVICES,) if awaited else ()))
        await store.close()


@settings(max_examples=25)
@given(acts=st.lists(_acts, min_size=4, max_size=20), awaited=st.booleans(), data=st.data())
def test_no_report_outlives_the_state_that_it_answers(
    acts: list[tuple[str, CaseEvent | str | None]], awaited: bool, data: st.DataObject
) -> None:
    async def live() -> None:
        async with _hospital(awaited) as hospital:
            engine = Engine(hospital)
            for event in (ORDER, study(at=1)):
                await engine.happens(event)
            for act, what in acts:
                if act == "event":
                    assert not isinstance(what, str | None)
                    await engine.happens(what)
                elif act == "read":
                    await engine.reads()
                else:
                    assert isinstance(what, str)
                    engine.answers(what, at_all=act == "answer")
            await engine.settles()
            receiver = Receiver(hospital)
            again = data.draw(st.lists(st.sampled_from(engine.log), max_size=4)) if engine.log else []
            await receiver.hears(*engine.log, *again)
            await _holds(engine, receiver)

    asyncio.run(live())


async def _holds(engine: Engine, receiver: Receiver) -> None:
    """A report is live only of a service that answered the very state that was told last."""
    async with engine.hospital.cases.correlation() as rows:
        state = await rows.study(StudyInstanceUID("1.2.3"))
    assert state is not None
    told = None if state.told is None else value_of(state.told)
    live = 0
    for service in SERVICES:
        report = receiver.report_of(service)
        answered = isinstance(told, AnalysisRequested) and (service, told.subject.sequence) in engine.answered
        if report is not None:
            assert report["status"] == ("partial" if answered else "cancelled"), service
        assert answered <= (report is not None)
        live += (3 if service == USUAL else 4) * answered
    assert receiver.live == live
