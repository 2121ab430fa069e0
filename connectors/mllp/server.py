"""The MLLP listener: one port, any number of connections."""

from __future__ import annotations

import asyncio

from connectors.door import Door
from connectors.listening import Listening
from connectors.mllp.connection import Connection, Limits
from connectors.mllp.conversations import Conversations
from connectors.mllp.dialogue import Converse, Dialogue, Terms
from connectors.mllp.gathering import Gathering, Store
from connectors.mllp.loopback import require_loopback
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
        converse: Converse | None = None,
        door: Door | None = None,
    ) -> None:
        """`port` 0: any free one, see `port` after `start`. Raises SettingsInvalid for a host beyond loopback without TLS,
        unless allowed in as many words."""
        self.door = door or Door()
        if not (allow_plaintext_beyond_loopback or self.door.tls):
            require_loopback(host, "MLLP listener")
        self._store = store
        self._host = host
        self._port = port
        self._listening: Listening | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._clock = clock
        self._converse = converse or (lambda peer, write: Dialogue(Terms(), Conversations("none"), write))
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises SettingsInvalid when the address cannot be bound."""
        self._listening = await Listening.bound("listen", self._host, self._port)
        self._port = self._listening.port
        self._gathering = Gathering(self._store, self.limits.storing_s)
        self._accepting = asyncio.create_task(self._listening.accept(self.door, self._connection, lambda: self.connections))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises whatever else ended the accepting: a listener that hears nobody must not look well."""
        assert self._accepting is not None
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, self._accepting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self._accepting.done():
            self._accepting.result()

    def _connection(self) -> Connection:
        return Connection(self._converse, self._gathering, self._clock, self.limits, self.connections)

    async def stop(self, within_s: float = 8.0) -> None:
        """Accepts nothing more, answers what has been received, closes; after `within_s` without answers."""
        if self._listening is None or self._accepting is None:
            return
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listening.close()
        self._listening = self._accepting = None
        self.door.close()
        connections = list(self.connections)
        if connections:
            stopping = [asyncio.create_task(connection.stop()) for connection in connections]
            _, late = await asyncio.wait(stopping, timeout=within_s)
            for task in late:
                task.cancel()
            for connection in list(self.connections):
                connection.abort()
        self._gathering.abort()
