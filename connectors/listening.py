"""Sockets that listen at one address, and whatever connects to them: handed to a door, for as long as it takes."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import structlog

from connectors.door import Door
from schemas.errors import SettingsInvalid

_BACKLOG = 1024
#: descriptors or memory are used up
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_EXHAUSTED_S = 1.0

_log = structlog.get_logger()


class Listening:
    """Made by `bound`; the first socket says the port."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets
        self.port: int = sockets[0].getsockname()[1]

    @classmethod
    async def bound(cls, step: str, host: str, port: int) -> Listening:
        """To every address of `host`; `port` 0: any free one. Raises SettingsInvalid when an address cannot be bound."""
        sockets: list[socket.socket] = []
        try:
            for family, *_, address in await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM):
                sockets.append(socket.create_server(address[:2], family=family, backlog=_BACKLOG))
                sockets[-1].setblocking(False)
        except OSError as error:
            for one in sockets:
                one.close()
            raise SettingsInvalid(step, f"{host}:{port}", f"the address cannot be bound: {error.strerror}") from None
        return cls(sockets)

    async def accept(
        self, door: Door, make: Callable[[], asyncio.Protocol], inside: Callable[[], AbstractSet[asyncio.Protocol]]
    ) -> None:
        """Until it is cancelled: `make` makes the connection that a peer meets, those `inside` are in already. What else ends it
        is raised: a listener that hears nobody must not look well."""
        accepting = [asyncio.create_task(self._accept(one, door, make, inside)) for one in self._sockets]
        try:
            await asyncio.gather(*accepting)
        finally:
            for one in accepting:
                one.cancel()
            await asyncio.wait(accepting)  # before the sockets that they wait for are closed

    async def until(
        self,
        stop: asyncio.Event,
        door: Door,
        make: Callable[[], asyncio.Protocol],
        inside: Callable[[], AbstractSet[asyncio.Protocol]],
        ready: Callable[[], None],
    ) -> None:
        """`accept` until `stop`, and nothing after it; `ready` is called when the first may come."""
        accepting, stopped = asyncio.create_task(self.accept(door, make, inside)), asyncio.create_task(stop.wait())
        ready()
        try:
            await asyncio.wait([accepting, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (accepting, stopped):
                task.cancel()
            await asyncio.wait([accepting, stopped])
        if not accepting.cancelled():
            accepting.result()

    def close(self) -> None:
        """After the accepting has ended."""
        for one in self._sockets:
            one.close()

    async def _accept(
        self,
        listening: socket.socket,
        door: Door,
        make: Callable[[], asyncio.Protocol],
        inside: Callable[[], AbstractSet[asyncio.Protocol]],
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = await loop.sock_accept(listening)
            except OSError as error:  # any other is of a peer that was gone before anybody came
                if error.errno in _EXHAUSTED:
                    _log.error("no connection can be accepted at the moment", port=self.port, error=error.strerror)
                    await asyncio.sleep(_EXHAUSTED_S)  # until others are closed, of which nobody tells
            else:
                door.open(peer, address, make, inside())
