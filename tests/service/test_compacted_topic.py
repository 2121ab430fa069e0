"""A compacted topic has holes in its offsets: a short step reads over them, and over no others."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[2]
RECORDS = 5


async def with_holes(bootstrap: str, topic: str) -> None:
    """The mark of each transaction stands at an offset between its record and the next: no wait for the cleaner."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    try:
        for number in range(RECORDS):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"%d" % number, key=b"key")
    finally:
        await producer.stop()


@pytest.mark.parametrize("compacted", [True, False])
async def test_holes(kafka_bootstrap: str, tmp_path: Path, compacted: bool) -> None:
    mark = uuid4().hex
    read, written = f"read-{mark}", f"written-{mark}"
    ensure_topics(kafka_bootstrap, [TopicSpec(read, 1), TopicSpec(written, 1)])
    await with_holes(kafka_bootstrap, read)
    command = [sys.executable, str(Path(__file__).with_name("loss_worker.py")), "--runner", "faust"]
    command += ["--bootstrap", kafka_bootstrap, "--step", f"copy-{mark}", "--instance", mark, "--output", written]
    command += ["--database", f"sqlite:///{tmp_path}/cases.db", "--down", str(tmp_path / "down"), "--input", read]
    command += ["--compacted", read] if compacted else []
    worker = subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    try:
        if not compacted:
            _, said = await asyncio.to_thread(worker.communicate, None, 60)
            assert worker.returncode == 1
            assert b"are missing" in said
            return
        seen = []
        async with KafkaLog(kafka_bootstrap) as log, asyncio.timeout(60):
            async for record in log.read(written, follow=True):
                seen.append(record.value)
                if len(seen) == RECORDS:
                    break
        assert seen == [b"%d" % number for number in range(RECORDS)]
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
    finally:
        worker.kill()
        worker.wait()
