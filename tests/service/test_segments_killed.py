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


async def segments(objects: Objects, least: int) -> list[SegmentName]:
    """When there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            names = [name for one in (await archived(objects, TOPIC)).values() for name in one]
            if len(names) >= least:
                return names
            await asyncio.sleep(0.02)  # another process writes files: there is no event to await


async def test_kill_9_while_it_archives(broker: LocalServices, tmp_path: Path) -> None:
    folder = tmp_path / "segments"
    settings = Settings(
        run_folder=tmp_path / "run",
        kafka=KafkaSettings(bootstrap=broker.kafka_bootstrap),
        audit=AuditSettings(checkpoint_interval_s=None),
        segments=SegmentSettings(url=str(folder), topics=(TOPIC,), size=1024 * 1024),
    )
    objects, live = in_folder(folder, timeout_s=20), live_history_for(settings)
    async with KafkaLog(broker.kafka_bootstrap) as log:
        for lot in range(12):
            await log.append([Outgoing(TOPIC, b"%d" % (n % 23), b"%d %d " % (lot, n) + bytes(range(250)) * 4) for n in range(1000)])
    expected = await everything(live, TOPIC)
    for least in (1, 3):
        process = await keeping(settings)
        await segments(objects, least)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    process = await keeping(settings)
    await segments(objects, 7)  # of 12 MB in four partitions
    health = read_health(settings.run_folder)["work-keep"]
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert (health.state, health.reason) == ("ready", "")
    kept = await archived(objects, TOPIC)
    assert all(not gaps(one) for one in kept.values())
    assert all(sum(len(name.span) for name in one) == one[-1].end - one[0].first for one in kept.values())  # nothing twice
    admin = KafkaAdminClient(bootstrap_servers=broker.kafka_bootstrap)
    ends = {number: one[-1].end for number, one in kept.items()}
    admin.delete_records({TopicPartition(TOPIC, number): end for number, end in ends.items()})
    admin.close()
    left = await everything(live, TOPIC)
    assert left == [one for one in expected if one.place.offset >= ends.get(one.place.partition, 0)]
    assert len(left) < len(expected)
    assert await everything(history_for(settings), TOPIC) == expected
