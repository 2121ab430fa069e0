"""Sends again, at a pace: the act is on the audit before the record is on its topic, and the end of it after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from schemas.errors import Rejected
from schemas.ports import Clock, EventLog
from streams.audit.acts import Actor
from streams.dead_letters.acts import Outcome, resent, told
from streams.dead_letters.letters import Letter
from streams.dead_letters.planning import Sending

#: of one append: records, and bytes beyond which no more are taken in
_RECORDS, _BYTES = 100, 1024 * 1024


class Pace:
    """`rate`: records a second, on average."""

    def __init__(
        self,
        rate: float,
        now: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.rate = rate
        self._now = now or asyncio.get_running_loop().time
        self._sleep = sleep
        self._next = self._now()

    async def wait(self, records: int) -> None:
        """Until so many more may be sent."""
        ahead = self._next - self._now()
        if ahead > 0:
            await self._sleep(ahead)
        self._next = max(self._next, self._now()) + records / self.rate


#: which of these letters must not be sent any more, and why: asked when it was told that they are begun
Held = Callable[[Sequence[Letter]], Awaitable[Mapping[UUID, str]]]


class Resender:
    """Of one command. `sent`: letters done; `failed`: those whose record the broker never takes, or that must not be sent, and
    why."""

    def __init__(self, log: EventLog, of: Actor, clock: Clock, pace: Pace, held: Held | None = None) -> None:
        self.sent = 0
        self.failed: list[tuple[Letter, str]] = []
        self._log = log
        self._of = of
        self._clock = clock
        self._pace = pace
        self._held = held
        self._at_once = max(1, min(_RECORDS, int(pace.rate / 4)))

    async def send(self, sendings: AsyncIterator[Sending], tell: Callable[[int], None]) -> None:
        """Raises BrokerUnavailable: what is not known to be sent stays open, and is sent again with the same identity."""
        waiting: list[Sending] = []
        async for one in sendings:
            waiting.append(one)
            if len(waiting) >= self._at_once or sum(len(each.record.value) for each in waiting) >= _BYTES:
                await self._send(waiting)
                tell(self.sent + len(self.failed))
                waiting = []
        if waiting:
            await self._send(waiting)
            tell(self.sent + len(self.failed))

    async def _send(self, sendings: Sequence[Sending]) -> None:
        await self._pace.wait(len(sendings))
        await self._tell(sendings, "begun")
        await self._append(sendings)

    async def _append(self, sendings: Sequence[Sending]) -> None:
        """What was told to be begun: once, however often it is tried here, for one "failed" takes back one "begun"."""
        sendings = await self._without_held(sendings)
        if not sendings:
            return
        try:
            await self._log.append([one.record for one in sendings])
        except Rejected as error:
            if len(sendings) == 1:
                await self._tell(sendings, "failed")
                self.failed += [(letter, error.reason) for letter in sendings[0].letters]
                return
            for one in sendings:  # one of them; those that were written already may be so twice
                await self._pace.wait(1)
                await self._append([one])
            return
        await self._tell(sendings, "done")
        self.sent += sum(len(one.letters) for one in sendings)

    async def _without_held(self, sendings: Sequence[Sending]) -> Sequence[Sending]:
        """Somebody may have begun something else with them first: it is on the audit before our own act."""
        held = {} if self._held is None else await self._held([letter for one in sendings for letter in one.letters])
        out = [one for one in sendings if any(letter.id in held for letter in one.letters)]
        if out:
            await self._tell(out, "failed")
            self.failed += [(letter, held[letter.id]) for one in out for letter in one.letters if letter.id in held]
        return [one for one in sendings if one not in out]

    async def _tell(self, sendings: Sequence[Sending], outcome: Outcome) -> None:
        acts = (resent(letter, self._of, outcome, self._clock, one.corrected_sha256) for one in sendings for letter in one.letters)
        await told(self._log, acts)
