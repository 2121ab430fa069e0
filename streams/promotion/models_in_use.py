"""Which model analyses now: it may be changed at any moment, and each analysis is made by one from beginning to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from schemas.errors import ModelFailed, ModelUnavailable
from schemas.model_events import ModelEvent
from schemas.ports import FindingModel
from streams.steps.choosing import IntendedUse

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InUse:
    """A loaded model, what its card says of its use, its end, which is called once and goes on when whoever calls it is cancelled,
    and the SHA-256 of the card (None: it has no package)."""

    model: FindingModel
    intended_use: IntendedUse
    close: Callable[[], Awaitable[None]]
    card_sha256: str | None = None

    @property
    def reference(self) -> str:
        """NAME/VERSION."""
        return f"{self.model.identity.name}/{self.model.identity.version}"

    def is_what(self, approved: ModelEvent) -> bool:
        """Whether it is what a person looked at: the name alone proves nothing."""
        identity = self.model.identity
        return (
            (identity.name, identity.version, self.model.service) == (approved.name, approved.version, approved.service)
            and identity.weights_sha256 == approved.weights_sha256
            and (approved.card_sha256 is None or self.card_sha256 == approved.card_sha256)
        )


Load = Callable[[str], Awaitable[InUse]]
"""From NAME/VERSION to a model that has passed its checksum and self-test. Raises SettingsInvalid (no such package, or not one of
this version), ModelFailed, and Unavailable or Refused of where packages are."""


async def approved(load: Load, act: ModelEvent, advice: str) -> InUse:
    """What the act is about. `advice`: what a person may do when the package is no longer what was approved. Raises as `load`, and
    then ModelFailed."""
    reference = f"{act.name}/{act.version}"
    in_use = await load(reference)
    if in_use.is_what(act):
        return in_use
    await in_use.close()
    raise ModelFailed("load", reference, f"is not what was approved: the package was changed since; {advice}")


@dataclass(slots=True)
class _Held:
    in_use: InUse
    leases: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)


class ModelsInUse:
    """Of one service, in one event loop. What is given to it is closed by it."""

    def __init__(self, first: InUse | None, service: str = "") -> None:
        """`service` where nothing speaks yet (`first` None): whoever says so tells why (`stop`)."""
        self.service = service if first is None else first.model.service
        self._now: _Held | None = None if first is None else _Held(first)
        self._why_none = "nothing speaks yet"
        self._ended = False
        self._retired: set[asyncio.Task[None]] = set()

    @property
    def speaks(self) -> bool:
        """Whether there is a model that the next lease gives."""
        return self._now is not None

    @property
    def current(self) -> InUse:
        """What the next lease gives. Raises ModelUnavailable when nothing speaks, and after the end."""
        return self._held().in_use

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[InUse]:
        """The same model for the length of the block, whatever is promoted or recalled meanwhile. Raises ModelUnavailable when
        nothing speaks, and after the end."""
        held = self._held()
        held.leases += 1
        try:
            yield held.in_use
        finally:
            held.leases -= 1
            if held is not self._now and not held.leases:
                held.free.set()

    def change(self, new: InUse) -> None:
        """From now on leases give `new`; what they gave before is closed when the last of its own has ended. Raises
        ModelUnavailable after the end."""
        if self._ended:
            raise ModelUnavailable("analyse", self.service, self._why_none)
        if self._now is not None:
            self._retire(self._now)
        self._now = _Held(new)

    def stop(self, reason: str) -> None:
        """From now on nothing speaks, for this reason, until there is a change."""
        self._why_none = reason
        if self._now is not None:
            self._retire(self._now)

    async def close(self) -> None:
        """No further leases; returns when every lease has ended and every model is closed."""
        self._ended = True
        self.stop("the process is ending")
        await asyncio.gather(*self._retired, return_exceptions=True)  # each was told when it happened

    def _held(self) -> _Held:
        if self._now is None:
            raise ModelUnavailable("analyse", self.service, self._why_none)
        return self._now

    def _retire(self, held: _Held) -> None:
        self._now = None  # from here on its leases only end
        if not held.leases:
            held.free.set()
        task = asyncio.create_task(self._end(held))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        task.add_done_callback(_tell)

    async def _end(self, held: _Held) -> None:
        await held.free.wait()
        await held.in_use.close()


def _tell(ended: asyncio.Task[None]) -> None:
    """A model that cannot be closed holds its memory, and spoils no analysis of the next one."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _log.error("a model could not be closed", error=type(error).__name__)
