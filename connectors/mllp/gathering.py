"""What waits on all connections is stored in one go: under load a few large appends cost the broker and us far less than many
small ones, and a lone message waits for nobody.

What comes while the broker confirms one go makes the next one larger. Of one connection at most one lot is under way, so its
messages are stored and answered in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Protocol

import structlog

from connectors.mllp.dialogue import Received
from schemas.errors import Unavailable

log = structlog.get_logger()

#: Stores all of them, the refused too, in order; returns when none can be lost any more. Raises Unavailable.
Store = Callable[[Sequence[Received]], Awaitable[None]]

#: Messages and bytes of one go.
_GO = 500
_GO_BYTES = 4 * 1024 * 1024
#: How many connections must wait for a go to begin, by how many are under way: a second one, made ready while the broker confirms
#: the first, pays from sixteen on, a third never.
_ENOUGH = (1, 16)
#: What waits on all connections together, in bytes, before all reading stops; and what one message costs beside its bytes.
HELD = 64 * 1024 * 1024
_EACH = 2048


class Waiting(Protocol):
    """A connection that has something to be stored."""

    peer: str

    def lot(self, messages: int, size: int) -> tuple[Sequence[Received], int]:
        """The oldest of what waits, at least one, then up to so many messages and bytes; and its bytes."""
        ...

    @property
    def oldest(self) -> float:
        """Loop time at which the first of what waits came."""
        ...

    def settled(self, stored: bool) -> None:
        """Its lot is safe, or not; what else waits is announced anew."""
        ...

    def go_on(self) -> None:
        """There is room again for what its peer sends."""
        ...

    def abort(self) -> None:
        """It cannot go on: the peer, without an answer, sends again."""
        ...


class Gathering:
    """One for each listener. `storing_s`: seconds from receipt until a message is said not to be stored."""

    def __init__(self, store: Store, storing_s: float) -> None:
        self._store = store
        self._storing_s = storing_s
        self._ready: dict[Waiting, None] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._held = 0
        self._stopped: dict[Waiting, None] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def full(self) -> bool:
        """So much waits that nobody may read on: a slow broker or a flood of senders must not eat the memory."""
        return self._held >= HELD

    def hold(self, messages: int, size: int) -> None:
        """So many messages more wait, with so many bytes."""
        self._held += messages * _EACH + size

    def release(self, messages: int, size: int) -> None:
        """They are settled, or given up with their connection."""
        self._held -= messages * _EACH + size
        if self._stopped and not self.full:
            stopped, self._stopped = list(self._stopped), {}
            for waiting in stopped:
                self._loop.call_soon(waiting.go_on)

    def stopped(self, waiting: Waiting) -> None:
        """It would read if there were room: told by `go_on`."""
        self._stopped[waiting] = None

    def forget(self, waiting: Waiting) -> None:
        """Its connection is gone."""
        self._stopped.pop(waiting, None)

    def announce(self, waiting: Waiting) -> None:
        """It has something that waits, and nothing under way. Whatever the other sockets hold at this moment goes along."""
        self._ready[waiting] = None
        self._schedule()

    def abort(self) -> None:
        """What is under way is given up, what waits forgotten: nobody is answered."""
        self._ready.clear()
        for task in self._under_way:
            task.cancel()

    def _schedule(self) -> None:
        under_way = len(self._under_way)
        if not self._scheduled and under_way < len(_ENOUGH) and len(self._ready) >= _ENOUGH[under_way]:
            self._scheduled = True
            self._loop.call_soon(self._go)

    def _go(self) -> None:
        self._scheduled = False
        lots: list[tuple[Waiting, Sequence[Received]]] = []
        messages, size = 0, 0
        for waiting in list(islice(self._ready, _GO)):
            if messages >= _GO or size >= _GO_BYTES:
                break  # the others are first next time
            del self._ready[waiting]
            lot, of_lot = waiting.lot(_GO - messages, _GO_BYTES - size)
            messages += len(lot)
            size += of_lot
            lots.append((waiting, lot))
        if lots:
            task = self._loop.create_task(self._stored(lots))
            self._under_way.add(task)
            task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._schedule()

    async def _stored(self, lots: Sequence[tuple[Waiting, Sequence[Received]]]) -> None:
        fault = await self._try(lots)
        if fault is None or isinstance(fault, (Unavailable, TimeoutError)) or len(lots) == 1:
            self._settle(lots, fault)
            return
        for one in lots:  # something in here cannot be stored: it must not make the others fail with it
            self._settle([one], await self._try([one]))

    async def _try(self, lots: Sequence[tuple[Waiting, Sequence[Received]]]) -> Exception | None:
        batch = [one for _, lot in lots for one in lot]
        oldest = min(waiting.oldest for waiting, _ in lots)
        try:
            async with asyncio.timeout_at(max(oldest + self._storing_s, self._loop.time() + self._storing_s / 2)):
                await self._store(batch)
        except Exception as error:  # noqa: BLE001 - the senders must have their answer, and keep their messages
            return error
        return None

    def _settle(self, lots: Sequence[tuple[Waiting, Sequence[Received]]], fault: Exception | None) -> None:
        if fault is not None:
            told = {"messages": sum(len(lot) for _, lot in lots), "peers": len({waiting.peer for waiting, _ in lots})}
            match fault:
                case TimeoutError():
                    log.warning("not stored in time, answered AE", **told)
                case Unavailable():
                    log.warning("not stored, answered AE", **told, error=str(fault))
                case _:
                    log.error("storing failed, answered AE", **told, error=type(fault).__name__)
        for waiting, _ in lots:
            try:
                waiting.settled(fault is None)
            except Exception as error:  # noqa: BLE001 - a bug in one answer must not keep the others from theirs
                log.error("answering failed, connection closed", peer=waiting.peer, error=type(error).__name__)  # noqa: TRY400
                waiting.abort()
