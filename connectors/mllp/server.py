"""The MLLP listener: one port, any number of connections."""

from __future__ import annotations

import asyncio
import errno
import socket

import structlog

from connectors.mllp.connection import Connection, Limits
from connectors.mllp.conversations import Conversations
from connectors.mllp.dialogue import Converse, Dialogue, Terms
from connectors.mllp.door import Door
from connectors.mllp.gathering import Gathering, Store
from connectors.mllp.loopback import require_loopback
from schemas.errors import SettingsInvalid
from schemas.ports import Clock

log = structlog.get_logger()

_BACKLOG = 1024
#: descriptors or memory are used up
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_S = 1.0


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
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._clock = clock
        self._converse = converse or (lambda peer, write: Dialogue(Terms(), Conversations("none"), write))
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises SettingsInvalid when the address cannot be bound."""
        loop = asyncio.get_running_loop()
        self._gathering = Gathering(self._store, self.limits.storing_s)
        try:
            for family, *_, address in await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
                self._sockets.append(socket.create_server(address[:2], family=family, backlog=_BACKLOG))
        except OSError as error:
            await self._close()
            raise SettingsInvalid(
                "listen", f"{self._host}:{self._port}", f"the address cannot be bound: {error.strerror}"
            ) from None
        self._port = self._sockets[0].getsockname()[1]
        for listening in self._sockets:
            listening.setblocking(False)
            self._accepting.append(loop.create_task(self._accept(listening)))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises whatever else ended the accepting: a listener that hears nobody must not look well."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, *self._accepting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for accepting in self._accepting:
            if accepting.done():
                accepting.result()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.error("no connection can be accepted at the moment", error=error.strerror)  # noqa: TRY400
                    await asyncio.sleep(_EXHAUSTED_S)  # until others are closed, of which nobody tells
            else:
                self.door.open(peer, address, self._connection, self.connections)

    def _connection(self) -> Connection:
        return Connection(self._converse, self._gathering, self._clock, self.limits, self.connections)

    async def _close(self) -> None:
        for accepting in self._accepting:
            accepting.cancel()
        if self._accepting:
            await asyncio.wait(self._accepting)  # before the socket that they wait for is closed
        for listening in self._sockets:
            listening.close()
        self._accepting, self._sockets = [], []

    async def stop(self, within_s: float = 8.0) -> None:
        """Accepts nothing more, answers what has been received, closes; after `within_s` without answers."""
        if not self._sockets:
            return
        await self._close()
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
