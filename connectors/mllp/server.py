"""The MLLP listener: one port, any number of connections, and the promise behind every positive answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from connectors.mllp.connection import Connection, Limits
from connectors.mllp.loopback import require_loopback
from connectors.mllp.received import Received
from schemas.errors import SettingsInvalid, Unavailable
from schemas.ports import Clock

log = structlog.get_logger()

#: Stores all of them, the refused too, in order; returns when none can be lost any more. Raises Unavailable.
Store = Callable[[Sequence[Received]], Awaitable[None]]


class MllpServer:
    """Listens on one port. `store` is the promise behind every AA and AR; when it fails or takes too long, AE."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        host: str = "127.0.0.1",
        port: int = 2575,
        allow_plaintext_beyond_loopback: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """`port` 0: any free one, see `port` after `start`. Raises SettingsInvalid for a host beyond loopback, unless allowed
        in as many words."""
        if not allow_plaintext_beyond_loopback:
            require_loopback(host, "MLLP listener")
        self._store = store
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._clock = clock
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises SettingsInvalid when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self.stored, self._clock, self.limits, self.connections),
                self._host,
                self._port,
                reuse_address=True,
                backlog=1024,
            )
        except OSError as error:
            raise SettingsInvalid(
                "listen", f"{self._host}:{self._port}", f"the address cannot be bound: {error.strerror}"
            ) from None
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self, within_s: float = 8.0) -> None:
        """Accepts nothing more, answers what has been received, closes; after `within_s` without answers."""
        if self._server is None:
            return
        self._server.close()
        connections = list(self.connections)
        if connections:
            stopping = [asyncio.create_task(connection.stop()) for connection in connections]
            _, late = await asyncio.wait(stopping, timeout=within_s)
            for task in late:
                task.cancel()
            for connection in list(self.connections):
                await connection.abort()
        self._server = None

    async def stored(self, batch: Sequence[Received], oldest: float) -> bool:
        """Whether all of them are safe. `oldest`: loop time at which the first one came."""
        loop = asyncio.get_running_loop()
        limit = self.limits.storing_s
        try:
            async with asyncio.timeout_at(max(oldest + limit, loop.time() + limit / 2)):
                await self._store(batch)
        except TimeoutError:
            log.warning("not stored in time, answered AE", messages=len(batch), peer=batch[0].peer)
        except Unavailable as error:
            log.warning("not stored, answered AE", messages=len(batch), peer=batch[0].peer, error=str(error))
        except Exception as error:  # noqa: BLE001 - the sender must have its answer, and keep its message
            log.error("storing failed, answered AE", messages=len(batch), peer=batch[0].peer, error=type(error).__name__)  # noqa: TRY400
        else:
            return True
        return False
