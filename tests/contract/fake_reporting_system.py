"""The port ReportingSystem in memory: what tests of steps use instead of a receiver. Kept true by ReportingSystemContract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from schemas.errors import ReceiverUnavailable, ResourceRefused
from schemas.findings import CHEST_RADIOGRAPH_FINDINGS, WITHDRAWING, Findings
from schemas.identifiers import StudyInstanceUID
from schemas.ports import Acknowledgement
from tests.contract.reporting_system import NOT_ANALYSED, NOTHING, WITHDRAWN, Study, said


class FakeReportingSystem:
    """Both sides. `told`: every telling that it took, in order. `fault`, once set, is raised instead of the next answer;
    `unavailable` until changed."""

    def __init__(self) -> None:
        self.told: list[Findings] = []
        self.held: dict[tuple[StudyInstanceUID, str], list[Findings]] = {}
        self.fault: Exception | None = None
        self.unavailable = False
        self.closed = False
        self._refused: set[StudyInstanceUID] = set()

    # ------------------------------------------------------------------------------------------------ ReportingSystem

    async def tell(self, findings: Findings, held: Findings | None) -> Acknowledgement:
        study = findings.subject.study_instance_uid
        await self.probe()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        if study in self._refused:
            raise ResourceRefused("fake", f"study {study}", "refused")
        self.told.append(findings)
        states = self.held.setdefault((study, findings.service), [])
        if findings not in states:
            states.append(findings)
        return Acknowledgement(f"{study} {findings.service} {findings.subject.sequence}")

    async def probe(self) -> None:
        if self.unavailable:
            raise ReceiverUnavailable("fake", "receiver", "away")

    async def close(self) -> None:
        self.closed = True

    # ------------------------------------------------------------------------------------------------------- Receiver

    async def expects(self, study: Study) -> None:
        """Nothing."""

    async def says(self, study: Study, service: str = CHEST_RADIOGRAPH_FINDINGS) -> str:
        states = self.held.get((study.uid, service))
        if not states:
            return NOTHING
        last = states[-1]
        if last.not_analysed is None:
            return said(last.subject.sequence, after_verification=last.verified_at is not None)
        once = any(state.not_analysed is None for state in states)
        return WITHDRAWN if once and last.not_analysed.reason in WITHDRAWING else NOT_ANALYSED

    async def holds(self, study: Study) -> frozenset[str]:
        return frozenset(
            f"{service} {state.subject.sequence}"
            for (uid, service), states in self.held.items()
            if uid == study.uid
            for state in states
        )

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        self.unavailable = True
        yield
        self.unavailable = False

    @asynccontextmanager
    async def refusing(self, study: Study) -> AsyncIterator[None]:
        self._refused.add(study.uid)
        yield
        self._refused.discard(study.uid)
