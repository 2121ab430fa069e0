"""Whether a destination refuses one item or everything: it is asked a harmless question."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from connectors.spells import Spell
from schemas.errors import RadstreamError, ReceiverUnavailable, Refused, Unavailable
from schemas.ports import Acknowledgement, ReportStore

_log = structlog.get_logger(__name__)
T = TypeVar("T")


class Probed:
    """Of one destination. `probe` raises what its errors say when it could be told nothing now."""

    def __init__(self, destination: str, probe: Callable[[], Awaitable[None]]) -> None:
        self._destination = destination
        self._probe = probe
        self._refuses_all = Spell()

    async def __call__(self, telling: Awaitable[T]) -> T:
        """What `telling` gives. Raises what it raises, but ReceiverUnavailable in the place of a refusal when the probe is refused
        too: the step pauses, with one alarm until something is taken again, and the backlog is no heap of dead letters."""
        try:
            answer = await telling
        except Refused as refused:
            try:
                await self._probe()
            except Unavailable:
                raise
            except RadstreamError as error:
                if self._refuses_all.begin():
                    what = "a destination refuses everything: a person must act"
                    _log.error(what, destination=self._destination, error=str(error))
                raise ReceiverUnavailable("deliver", refused.reference, f"everything is refused: {error.reason}") from None
            raise
        self._refuses_all.end()
        return answer


class ProbedStore:
    """A ReportStore."""

    def __init__(self, store: ReportStore, probed: Probed) -> None:
        self._store = store
        self._probed = probed

    async def put(self, bundle: bytes) -> Acknowledgement:
        """See ReportStore.put."""
        return await self._probed(self._store.put(bundle))
