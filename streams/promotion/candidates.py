"""Which packages may speak for one service, in the order in which they are tried, and loading them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from schemas.errors import ModelFailed, RadstreamError, Unavailable
from schemas.ports import EventLog
from streams.promotion.acts import Act, Acts, promoted_before
from streams.promotion.models_in_use import InUse, Load, approved

_log = structlog.get_logger(__name__)


class Candidates:
    """`own`: the package of the settings. `acts`: what is known of promotions and recalls, now and later."""

    def __init__(self, service: str, own: str, log: EventLog, load: Load, acts: Acts) -> None:
        self._service = service
        self._own = own
        self._log = log
        self._load = load
        self._acts = acts

    @property
    def wanted(self) -> Act | None:
        """What was promoted last."""
        return self._acts.promoted.get(self._service)

    def is_recalled(self, reference: str) -> bool:
        return reference in self._acts.recalled

    async def first(self) -> InUse:
        """Raises as `Load`; ModelFailed when it is not what was approved, or was recalled."""
        return await (self._of_settings() if self.wanted is None else self._approved(self.wanted))

    async def other(self, than: str) -> InUse:
        """In the place of that NAME/VERSION: what a person had promoted before, newest first, if it still is that and works; else
        the package of the settings. Raises BrokerUnavailable; and as `first`, of the settings' package or of one whose store is
        away."""
        away: Unavailable | None = None
        for act in await promoted_before(self._log, self._service):
            if act.reference == than:
                continue
            try:
                return await self._approved(act)
            except RadstreamError as error:
                away = error if isinstance(error, Unavailable) else away
                _log.warning("nor is one promoted before used", model=act.reference, error=str(error))
        if away is not None and self.is_recalled(self._own):
            raise away
        return await self._of_settings()

    def why_recalled(self, reference: str) -> str:
        """Without the person's reason, which is free text: `radstream model list` shows it."""
        return f"was recalled by {self._acts.recalled[reference].approved_by}: promote another version"

    async def _of_settings(self) -> InUse:
        first = await self._loaded(self._own, partial(self._load, self._own))
        if first.model.service != self._service:
            await first.close()
            raise ModelFailed("load", self._own, f"it is a package of {first.model.service}, not of {self._service}")
        return first

    async def _approved(self, act: Act) -> InUse:
        return await self._loaded(act.reference, partial(approved, self._load, act.event, "promote it again"))

    async def _loaded(self, reference: str, load: Callable[[], Awaitable[InUse]]) -> InUse:
        """Raises as `load`; ModelFailed when it was recalled, also meanwhile, and when anything but our own errors comes out."""
        self._refuse_recalled(reference)
        try:
            found = await load()
        except RadstreamError:
            raise
        except Exception as error:  # a strange package must not end the process: it would be tried again at every start
            raise ModelFailed("load", reference, f"it cannot be loaded: {type(error).__name__}") from error
        if self.is_recalled(reference):
            await found.close()
        self._refuse_recalled(reference)
        return found

    def _refuse_recalled(self, reference: str) -> None:
        if self.is_recalled(reference):
            raise ModelFailed("load", reference, self.why_recalled(reference))
