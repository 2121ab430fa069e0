"""One outbound connection, below the client."""

from __future__ import annotations

import asyncio

import pytest

from connectors.mllp.exchange import Exchange


async def test_a_peer_that_does_not_read_cannot_keep_us_from_leaving() -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.transport.pause_reading(), "127.0.0.1", 0)  # type: ignore[attr-defined]
    async with server:
        loop = asyncio.get_running_loop()
        _, exchange = await loop.create_connection(Exchange, *server.sockets[0].getsockname())
        answer = exchange.write(bytes(40 * 1024 * 1024), "C1")
        async with asyncio.timeout(10):
            await exchange.close(within_s=0.1)
            with pytest.raises(ConnectionResetError):
                await answer
