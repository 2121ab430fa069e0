"""The floor: what every engine must do and no more. Frame, append with acks=all, answer AA; nothing is checked.

python floor.py PORT BOOTSTRAP TOPIC
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop
from aiokafka import AIOKafkaProducer

LIMIT = 16 * 2**20


class Bare(asyncio.Protocol):
    def __init__(self, producer: AIOKafkaProducer, topic: str, tasks: set[asyncio.Task[None]]) -> None:
        self._producer = producer
        self._topic = topic
        self._tasks = tasks
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *frames, self._buffer = (self._buffer + data).split(b"\x1c\r")
        for content in frames:
            task = asyncio.create_task(self._store(content[1:]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _store(self, content: bytes) -> None:
        await self._producer.send_and_wait(self._topic, content)
        msh = content[: content.index(b"\r")].split(b"|")
        self._transport.write(b"\x0bMSH|^~\\&|||||||ACK|%b|P|%b\rMSA|AA|%b\r\x1c\r" % (msh[9], msh[11], msh[9]))


async def main(port: int, bootstrap: str, topic: str) -> None:
    loop = asyncio.get_running_loop()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=256 * 1024, max_request_size=LIMIT
    )
    await producer.start()
    tasks: set[asyncio.Task[None]] = set()
    server = await loop.create_server(lambda: Bare(producer, topic, tasks), "127.0.0.1", port, backlog=128)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
