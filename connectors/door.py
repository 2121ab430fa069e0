"""Who gets into a listener: decided once for each connection, before a byte is read."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import structlog

from connectors.tls import ServerTls, reason_of

log = structlog.get_logger()

_HANDSHAKE_S = 10.0
#: seconds without a byte until a peer is asked whether it is still there, and between that question's repetitions
_KEEP_ALIVE_S, _KEEP_ALIVE_AGAIN_S, _KEEP_ALIVE_TIMES = 60, 20, 3
#: one log line a minute for each host and reason, and memory for so many of them
_TELL_S, _TOLD = 60.0, 1000


def within(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether an address, which may be IPv4 in the clothes of IPv6, is of one of the networks."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:  # a peer that was gone before anybody asked where it was
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


class Door:
    """`allowed`: networks whose hosts may connect, none: every host. `connections`: how many there may be at a time, those in
    their TLS handshake counted. `refused` counts those who did not get in, by reason."""

    def __init__(
        self,
        allowed: Sequence[IPv4Network | IPv6Network] = (),
        connections: int = 256,
        tls: ServerTls | None = None,
    ) -> None:
        self.tls = tls
        self.refused: Counter[str] = Counter()
        self._allowed = allowed
        self._limit = connections
        self._entering: dict[asyncio.Protocol, asyncio.Task[None]] = {}
        self._told: dict[tuple[str, str], float] = {}

    def open(
        self, peer: socket.socket, address: Any, make: Callable[[], asyncio.Protocol], inside: AbstractSet[asyncio.Protocol]
    ) -> None:
        """A new socket, from `accept`: `make` makes the connection that it meets, those `inside` are in already."""
        host, port, *_ = address
        if why := self.objection(host, len(inside | self._entering.keys())):
            self._refuse(f"{host}:{port}", host, why)
            peer.close()
            return
        try:
            _keep_alive(peer)
        except OSError as error:
            self._refuse(f"{host}:{port}", host, f"lost at once: {reason_of(error)}")
            peer.close()
            return
        connection = make()
        self._entering[connection] = asyncio.get_running_loop().create_task(self._enter(peer, host, port, connection))

    def close(self) -> None:
        """Who is not in yet does not get in any more."""
        for entering in self._entering.values():
            entering.cancel()

    def objection(self, host: str, inside: int) -> str:
        """Why this host does not get in; "" when it does."""
        if self._allowed and not within(host, self._allowed):
            return "not among the allowed peers"
        if inside >= self._limit:
            return f"there are {self._limit} connections already"
        return ""

    async def _enter(self, peer: socket.socket, host: str, port: int, connection: asyncio.Protocol) -> None:
        loop = asyncio.get_running_loop()
        context, within_s = (self.tls.context(), _HANDSHAKE_S) if self.tls else (None, None)
        try:
            await loop.connect_accepted_socket(lambda: connection, peer, ssl=context, ssl_handshake_timeout=within_s)
        except OSError as error:  # ssl.SSLError is one
            why = reason_of(error)
            self._refuse(f"{host}:{port}", host, f"TLS handshake failed: {why}" if self.tls else f"lost at once: {why}")
        finally:
            del self._entering[connection]

    def _refuse(self, peer: str, host: str, why: str) -> None:
        self.refused[why] += 1
        now = asyncio.get_running_loop().time()
        if now - self._told.get((host, why), -_TELL_S) >= _TELL_S:
            if len(self._told) >= _TOLD:
                self._told.clear()
            self._told[host, why] = now
            log.warning("a peer does not get in", peer=peer, reason=why, so_far=self.refused[why])


def _keep_alive(peer: socket.socket) -> None:
    """A peer that lost its power says nothing: the kernel asks it now and then."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_AGAIN_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEP_ALIVE_TIMES)
