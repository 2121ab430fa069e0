"""Sends HL7 messages over MLLP to one receiver, and waits for the acknowledgement that belongs to each."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self

from connectors.mllp.exchange import Exchange
from connectors.mllp.loopback import require_loopback
from connectors.tls import reason_of
from schemas.errors import MalformedMessage, Unavailable
from schemas.hl7v2.acknowledgement import Ack
from schemas.hl7v2.header import Header

#: "not now": the receiver may take it later
_AGAIN = ("AE", "CE")
_LONGEST_WAIT_S = 30.0
#: for the end of TLS
_GOODBYE_S = 2.0


class MllpReceiverUnavailable(Unavailable):
    """The receiver does not answer. Whether it has the message is not known; sending it again is right."""


class MllpClient:
    """One connection to one receiver; connects when needed. Use as an async context manager.

    Messages go out in the order of the calls. With `window` 1 each waits for the answer to the one before, which is what
    MLLP promises; with more, so many may be unanswered at a time, and one that is sent again comes behind others."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 10.0,
        window: int = 1,
        tls: ssl.SSLContext | None = None,
        allow_plaintext_beyond_loopback: bool = False,
    ) -> None:
        """`timeout_s`: for connecting, and for each acknowledgement. Raises SettingsInvalid for a host beyond loopback without
        TLS, unless allowed in as many words."""
        if not (allow_plaintext_beyond_loopback or tls):
            require_loopback(host, "MLLP client")
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._tls = tls
        self._under_way = asyncio.Semaphore(window)
        self._deliveries = asyncio.Semaphore(window)
        self._order = asyncio.Lock()
        self._exchange: Exchange | None = None
        #: how many messages `deliver` has sent again
        self.resent = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def send(self, message: bytes, *, application: bool = False) -> Ack:
        """The acknowledgement whose MSA-2 is this message's MSH-10; others are passed over. AE and AR, CE and CR are returned,
        not raised. In enhanced mode that is the commit answer, and the application answer that comes later is awaited only
        with `application`.

        Raises MllpReceiverUnavailable (no connection, connection lost, no answer in time), MalformedMessage (what is to
        be sent has no MSH or no MSH-10 to tell its answer by)."""
        control_id = Header.read(message).field(10).strip()
        if not control_id:
            raise MalformedMessage("send", "MSH-10", "a message without control id cannot be acknowledged")
        async with self._under_way:
            try:
                async with asyncio.timeout(self._timeout_s):
                    async with self._order:
                        exchange = await self._connected()
                        await exchange.writable.wait()
                        answer = exchange.write(message, control_id, application=application)
                    return await answer
            except (OSError, TimeoutError) as error:
                self._drop()
                raise MllpReceiverUnavailable("send", f"{self._host}:{self._port}", reason_of(error)) from None
            except asyncio.CancelledError:
                self._drop()  # a late answer must not meet the same message, sent again
                raise

    async def deliver(self, message: bytes, *, attempts: int = 5, wait_s: float = 0.5) -> Ack:
        """As `send`, but AE, CE and no answer at all are tried again, up to so many `attempts`, `wait_s` seconds later, then
        twice as many and so on. With `window` 1 no other delivery overtakes it meanwhile.

        The answer is AA or CA, AR or CR (a person must look), or the AE or CE of the last attempt. Raises as `send`."""
        async with self._deliveries:
            while True:
                attempts -= 1
                try:
                    ack = await self.send(message)
                    if ack.code not in _AGAIN or attempts <= 0:
                        return ack
                except MllpReceiverUnavailable:
                    if attempts <= 0:
                        raise
                self.resent += 1
                await asyncio.sleep(wait_s)  # nobody tells when the receiver is well again
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def connect(self) -> None:
        """What `send` does when it must: for those who want to know before. Raises MllpReceiverUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s), self._order:
                await self._connected()
        except (OSError, TimeoutError) as error:
            raise MllpReceiverUnavailable("connect", f"{self._host}:{self._port}", reason_of(error)) from None

    async def close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close(_GOODBYE_S)

    async def _connected(self) -> Exchange:
        if self._exchange is None or not self._exchange.usable:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(Exchange, self._host, self._port, ssl=self._tls)
        return self._exchange

    def _drop(self) -> None:
        """Whoever else waits for an answer on this connection gets none either."""
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None
