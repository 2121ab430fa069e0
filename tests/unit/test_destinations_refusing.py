"""What becomes of records at a destination that refuses one of them, or everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors.case_store import SqlCaseStore
from schemas.errors import AccessRefused, ItemNotServed, ReceiverUnavailable, ResourceRefused
from schemas.findings import Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.bundle import bundle_of
from streams.clock import SystemClock
from streams.guard import Guard, Outcome
from streams.refusing import Probed, ProbedStore
from streams.topics import DEAD_LETTERS, DELIVERIES
from streams.wiring.destinations import told_destination
from tests.contract.example_findings import SITE, findings, subject
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_report_store import FakeReportStore
from tests.contract.fake_reporting_system import FakeReportingSystem
from tests.unit.informing import record_of


class Locked(FakeReportingSystem):
    """While `locked`: 401 to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.locked = False

    async def probe(self) -> None:
        if self.locked:
            raise AccessRefused("fake", "probe", "HTTP 401: check the token")
        await super().probe()


class House:
    """A guard before the destination `ris`. `paused`: when it has been so often."""

    def __init__(self, system: FakeReportingSystem, cases: SqlCaseStore) -> None:
        self.log = FakeEventLog(DEAD_LETTERS.name, DELIVERIES.name)
        self.stop = asyncio.Event()
        self.pauses = 0
        self.reasons: set[str] = set()
        step = told_destination("ris", lambda: system).step(cases)
        self.guard = Guard(
            "deliver.ris", step, self.log, cases, SystemClock(), self.stop,
            health=self._health, first_pause_s=0.01, longest_pause_s=0.02,
        )  # fmt: skip

    def _health(self, state: str, reason: str) -> None:
        self.pauses += state == "paused"
        self.reasons |= {reason} - {""}

    async def paused(self, times: int) -> None:
        async with asyncio.timeout(30):
            while self.pauses < times:
                await asyncio.sleep(0)


def of(number: int) -> Findings:
    return findings(subject(4, study=StudyInstanceUID(f"1.2.3.{number}")))


def alarms(lines: list[Any]) -> int:
    return sum(line["event"].startswith("a destination refuses everything") for line in lines)


async def test_who_refuses_everything_is_waited_for_with_one_alarm(cases: SqlCaseStore) -> None:
    system = Locked()
    house = House(system, cases)
    with capture_logs() as lines:
        for spell in range(2):
            system.locked = True
            backlog = [record_of(of(5 * spell + number), offset=5 * spell + number) for number in range(1, 6)]
            working = [asyncio.create_task(house.guard(record)) for record in backlog]
            await house.paused(20 * (spell + 1))
            assert alarms(lines) == spell + 1
            system.locked = False
            assert await asyncio.gather(*working) == [Outcome.DONE] * 5
    assert house.log.records(DEAD_LETTERS.name) == []
    assert len(system.told) == 10
    assert "everything is refused: HTTP 401" in next(iter(house.reasons))


async def test_what_alone_is_refused_is_a_dead_letter_with_the_answer_and_the_next_goes_on(cases: SqlCaseStore) -> None:
    system = Locked()
    house = House(system, cases)
    system.fault = ResourceRefused("fake", "study 1.2.3.1", "HTTP 422", b'{"resourceType": "OperationOutcome"}')
    assert await house.guard(record_of(of(1))) is Outcome.DEAD_LETTER
    assert await house.guard(record_of(of(2))) is Outcome.DONE
    (letter,) = house.log.records(DEAD_LETTERS.name)
    assert letter.header("operation-outcome") == '{"resourceType": "OperationOutcome"}'
    assert letter.value == record_of(of(1)).value
    assert [one.subject.study_instance_uid for one in system.told] == ["1.2.3.2"]


async def test_who_is_down_is_waited_for(cases: SqlCaseStore) -> None:
    system = Locked()
    house = House(system, cases)
    system.unavailable = True
    working = asyncio.create_task(house.guard(record_of(of(1))))
    await house.paused(3)
    system.unavailable = False
    assert await working is Outcome.DONE


async def test_what_a_receiver_fails_on_is_parked_and_the_next_goes_on(cases: SqlCaseStore) -> None:
    system = Locked()
    house = House(system, cases)
    system.fault = ItemNotServed("fake", "study 1.2.3.1", "HTTP 500")
    assert await house.guard(record_of(of(1))) is Outcome.PARKED
    assert await house.guard(record_of(of(2))) is Outcome.DONE


@pytest.mark.parametrize("well", [True, False])
async def test_a_fhir_server_is_asked_too(well: bool) -> None:
    async def probe() -> None:
        if not well:
            raise AccessRefused("fhir", "probe", "HTTP 403")

    store = FakeReportStore()
    store.fault = AccessRefused("fhir", "DiagnosticReport/1", "HTTP 403")
    bundle = bundle_of(of(1), SITE)
    with pytest.raises(AccessRefused if well else ReceiverUnavailable, match="403"):
        await ProbedStore(store, Probed("fhir", probe)).put(bundle)
    assert isinstance(await ProbedStore(store, Probed("fhir", probe)).put(bundle), Acknowledgement)


async def test_who_goes_away_after_a_refusal_refuses_nothing() -> None:
    """It is down: no person must act."""

    async def refused() -> None:
        raise AccessRefused("fhir", "DiagnosticReport/1", "HTTP 403")

    async def probe() -> None:
        raise ReceiverUnavailable("fhir", "probe", "does not answer")

    with capture_logs() as lines, pytest.raises(ReceiverUnavailable, match="does not answer"):
        await Probed("fhir", probe)(refused())
    assert alarms(lines) == 0
