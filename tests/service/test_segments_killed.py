"""The role `work keep` as it archives, on a real Kafka: killed with -9 while it does, and begun again."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.kafka import KafkaLog
from connectors.objects import Objects, in_folder
from schemas.ports import Outgoing
from streams.audit_settings import AuditSettings
from streams.health import read_health
from streams.segment_settings import SegmentSettings
from streams.segments.names import SegmentName, archived, gaps
from streams.services import LocalServices
from streams.settings import KafkaSettings, Settings, as_environment
from streams.topics import NOTICES
from streams.wiring.clients import history_for, live_history_for
from tests.contract.history import everything

pytestmark = [pytest.mark.service, pytest.mark.timeout(240)]
TOPIC = NOTICES.name
PATIENCE_S = 90


async def keeping(settings: Settings) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "streams.role", "work keep", env=as_environment(settings))


async def segments(objects: Objects, least: int, end: int) -> list[SegmentName]:
    """When there are so many, and they hold so many offsets together."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            names = [name for one in (await archived(objects, TOPIC)).values() for name in one]
            if len(names) >= least and sum(len(name.span) for name in names) >= end:
                return names
            await asyncio.sleep(0.02)  # another process writes files: there is no event to await


async def test_kill_9_while_it_archives(broker: LocalServices, tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    settings = Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        audit=AuditSettings(checkpoint_interval_s=None),
        segments=SegmentSettings(url=str(folder), topics=(TOPIC,), size=1024 * 1024, age_s=0.1),
    )
    objects, live = in_folder(folder, timeout_s=20), live_history_for(settings)
    before = sum(map(len, await live.spans(TOPIC)))
    async with KafkaLog(broker.kafka_bootstrap) as log:
        for lot in range(6):
            await log.append([Outgoing(TOPIC, b"%d" % (n % 23), b"%d %d " % (lot, n) + bytes(range(250)) * 4) for n in range(1000)])
    expected = await everything(live, TOPIC)
    for least in (1, 3):
        process = await keeping(settings)
        await segments(objects, least, 0)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    process = await keeping(settings)
    names = await segments(objects, 0, before + 6_000)
    health = read_health(settings.run_folder)["work-keep"]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert (health.state, health.reason) == ("ready", "")
    assert sum(len(name.span) for name in names) == before + 6_000  # nothing twice
    kept = await archived(objects, TOPIC)
    assert all(not gaps(one) for one in kept.values())
    admin = KafkaAdminClient(bootstrap_servers=broker.kafka_bootstrap)
    admin.delete_records({TopicPartition(TOPIC, number): one[-1].end for number, one in kept.items()})
    admin.close()
    assert await everything(live, TOPIC) == []
    assert await everything(history_for(settings), TOPIC) == expected
