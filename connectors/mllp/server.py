"""The MLLP listener: one port, any number of connections."""

from __future__ import annotations

import asyncio

from connectors.mllp.connection import Connection, Limits
from connectors.mllp.dialogue import Dialogue
from connectors.mllp.gathering import Gathering, Store
from connectors.mllp.loopback import require_loopback
from schemas.errors import SettingsInvalid
from schemas.ports import Clock


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
        dialogue: Dialogue | None = None,
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
        self._dialogue = dialogue or Dialogue()
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises SettingsInvalid when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        gathering = Gathering(self._store, self.limits.storing_s)
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._dialogue, gathering, self._clock, self.limits, self.connections),
                self._host,
                self._port,
                reuse_address=True,
                backlog=1024,
            )
        except OSError as error:
            raise SettingsInvalid(
                "listen", f"{self._host}:{self._port}", f"the address cannot be bound: {error.strerror}"
            ) from None
        self._gathering = gathering
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
                connection.abort()
        self._gathering.abort()
        self._server = None
