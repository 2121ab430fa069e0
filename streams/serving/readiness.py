"""Whether a served model whose network is on a server of the site can be asked now: that server says it, when somebody asks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from schemas.errors import RadstreamError

_log = structlog.get_logger(__name__)

#: seconds for the question, and for whoever waits for its answer: to look a name up may take longer, and cannot be cut
_ASK_S, _WAIT_S = 1.0, 1.5


class AsksItsServer(Protocol):
    """A `Network` on a server."""

    def check_ready(self, within_s: float) -> None:
        """Raises RadstreamError: why it cannot be asked."""
        ...

    def close(self) -> None:
        """Of the connection of this thread."""
        ...


class Readiness:
    """`connectors.inference_served.Ready` of one network. `reference`: NAME/VERSION, for the log. `thread`: of its own, because a
    pass may keep that of the network busy. One question at a time, however many ask: health needs no token, and must not be a way
    to put the site's server under load."""

    def __init__(self, reference: str, network: AsksItsServer, thread: ThreadPoolExecutor) -> None:
        self._reference = reference
        self._network = network
        self._thread = thread
        self._asking: asyncio.Future[str] | None = None
        self._why = ""

    async def __call__(self) -> bool:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._asked)
        asking = self._asking
        done, _ = await asyncio.wait([asking], timeout=_WAIT_S)  # a caller that goes away takes nothing from the others
        self._tell(asking.result() if done else f"no answer within {_WAIT_S:g} s")
        return not self._why

    def _asked(self) -> str:
        """Why it is not ready; "": it is. On the thread."""
        try:
            self._network.check_ready(_ASK_S)
        except RadstreamError as error:
            return str(error)
        finally:
            self._network.close()  # the next question shows whether a connection can be made
        return ""

    def _tell(self, why: str) -> None:
        """Once, however often it is asked."""
        if why and why != self._why:
            _log.warning("a served model is not ready", model=self._reference, error=why)
        elif self._why and not why:
            _log.info("a served model is ready again", model=self._reference)
        self._why = why
