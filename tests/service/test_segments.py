"""The archive of the log with a real Kafka and a real S3 server: what retention took still reads as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.kafka import KafkaLog
from connectors.kafka_admin import TopicSpec, ensure_topics
from connectors.kafka_history import KafkaHistory
from connectors.objects import Objects, on_s3
from schemas.ports import Outgoing
from streams.clock import SystemClock
from streams.segments.archiving import Archiver
from streams.segments.history import ArchivedHistory
from streams.segments.names import archived, gaps
from tests.contract.history import everything
from tests.contract.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, s3_server

pytestmark = pytest.mark.service


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    """On a real server."""
    server = s3_server(tmp_path)
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text(ACCESS_KEY)
    secret.write_text(SECRET_KEY)
    with server.running():
        yield on_s3(
            f"s3://{BUCKET}/log",
            endpoint=server.endpoint,
            region="us-east-1",
            access_key_file=access,
            secret_key_file=secret,
            timeout_s=20,
        )


async def test_what_retention_took_still_reads_as_it_was(kafka_bootstrap: str, objects: Objects) -> None:
    topic = f"topic-{uuid4().hex}"
    ensure_topics(kafka_bootstrap, [TopicSpec(topic, 4)])
    live = KafkaHistory(kafka_bootstrap)

    def new_archiver() -> Archiver:
        return Archiver(objects, live, SystemClock(), [topic], size=60_000, age=timedelta(hours=1))

    async with KafkaLog(kafka_bootstrap) as log:
        archiver, stop = new_archiver(), asyncio.Event()
        for lot in range(4):
            await log.append(
                [
                    Outgoing(
                        topic, b"sender %d" % (n % 9), b"%d %d " % (lot, n) + bytes(range(256)) * (n % 12), (("n", b"%d" % n),)
                    )
                    for n in range(500)
                ]
            )
            await archiver.turn(stop)
            if lot == 1:
                archiver = new_archiver()  # as after a crash: what still grew is read again
    before = await everything(live, topic)
    assert len(before) == 2000
    kept = await archived(objects, topic)
    assert len(kept) == 4
    assert all(len(names) > 1 and not gaps(names) for names in kept.values())

    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.delete_records({TopicPartition(topic, number): names[-1].end for number, names in kept.items()})
    history = ArchivedHistory(objects, live, [topic])
    assert [span.first for span in await live.spans(topic)] == [names[-1].end for names in kept.values()]
    assert await everything(history, topic) == before
    for moment in {record.timestamp for record in before[::900]}:
        found = [record for span in await history.since(topic, moment) async for record in history.records(span)]
        assert [one for one in found if one.timestamp >= moment] == [one for one in before if one.timestamp >= moment]

    admin.delete_topics([topic])
    admin.close()
    only = {number: names[-1].end for number, names in kept.items()}
    assert await everything(history, topic) == [one for one in before if one.place.offset < only[one.place.partition]]
