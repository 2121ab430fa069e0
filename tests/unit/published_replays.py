"""A log with what was said live and in a replay, and whoever publishes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from schemas.acts import ReplayPublished
from schemas.findings import Findings
from schemas.ports import Outgoing, Place
from streams.replay.changes import Tolerance
from streams.replay.differing import Diff, differences
from streams.replay.diffing import Compared
from streams.replay.publishing import Approval, Publication, audited_acts, claimed, publications, publish
from streams.replay.said import Side
from tests.contract.fake_event_log import FakeEventLog
from tests.unit.cases import minutes
from tests.unit.replays import HERE, NAME, OTHER_MODEL, outgoing, said, uid

SANDBOX = f"sandbox.{NAME}.ai.results"
WHO = Approval("Dr B", "version 2 finds what 1 missed")
NOW = said(1, [HERE], model=OTHER_MODEL)


class At:
    """A clock."""

    def __init__(self, at: float = 60) -> None:
        self.at = at

    def now(self) -> datetime:
        return minutes(self.at)


class Log(FakeEventLog):
    """With what was said live and in the replay."""

    def __init__(self) -> None:
        super().__init__("ai.results", SANDBOX)
        self.create("radstream.audit", partitions=1)
        #: before the next act is written
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def live(self, *several: Findings) -> None:
        await self.append([outgoing(one) for one in several])

    async def replayed(self, *several: Findings) -> None:
        await self.append([outgoing(one, SANDBOX) for one in several])

    def results(self) -> list[Findings]:
        return [Findings.model_validate_json(record.value) for record in self.records("ai.results")]

    def acts(self) -> list[ReplayPublished]:
        return [ReplayPublished.model_validate_json(record.value) for record in self.records("radstream.audit")]

    def compared(self) -> Compared:
        then, now = Side(), Side()
        for topic, side in (("ai.results", then), (SANDBOX, now)):
            for record in self.records(topic):
                side.result(record)
        return Compared(Diff("now", "then", differences(then, now, Tolerance())), then, now)

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Place]:
        if self.meanwhile is not None and records and records[0].topic == "radstream.audit":
            happens, self.meanwhile = self.meanwhile, None
            await happens()
        return await super().append(records)

    async def publishes(
        self, *studies: int, clock: At | None = None, recalled: Any = None, replay: str = NAME, who: Approval = WHO
    ) -> Publication:
        """Of one study, or of the one that changed."""
        chosen = frozenset(str(uid(number)) for number in studies) or None
        claims = claimed(await audited_acts(self))
        several = publications(replay, self.compared(), chosen, recalled or {}, Tolerance(), claims)
        (one,) = await publish(self, replay, several, who, clock or At())
        return one


def replace_findings(of: Findings, **changed: Any) -> Findings:
    return Findings(**(dict(of) | changed))
