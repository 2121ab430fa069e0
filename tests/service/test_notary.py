"""The role `work keep` on a real Kafka: what it signs, retention, kill -9, and somebody who changes the file."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from connectors.kafka import KafkaLog
from schemas.ports import Outgoing, Place
from streams import topics
from streams.audit.signing import public_file, public_keys
from streams.audit.verified import Sources, Told, verify
from streams.audit_settings import AuditSettings
from streams.services import LocalServices, ServicePorts, running_services
from streams.settings import KafkaSettings, Settings, as_environment
from streams.unbroken import unbroken
from streams.wiring.clients import ensure_all_topics, history_for
from tests.service.away import away

pytestmark = [pytest.mark.service, pytest.mark.timeout(400)]
PATIENCE_S = 90


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    """A broker of our own: its checkpoints are those of this test alone."""
    folder = tmp_path_factory.mktemp("services")
    with running_services(folder, ServicePorts.free(), only=("kafka",), tell=lambda _: None) as services:
        yield services


class Keeping:
    """The process of the role, as the supervisor starts it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Keeping:
        self._process = await _python(self.settings, "streams.role", "work keep")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.end(signal.SIGTERM)

    async def end(self, how: signal.Signals) -> None:
        """Its own signal has killed it, or it has ended well; once."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            assert await process.wait() == (-how if how is signal.SIGKILL else 0)


async def _python(settings: Settings, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, env=as_environment(settings), **options)


async def verified(settings: Settings) -> Told:
    keys = public_keys([public_file(settings.audit.key_file)])
    return await verify(history_for(settings), Sources([settings.audit.checkpoint_file]), keys)


async def radstream_verify(settings: Settings) -> tuple[int | None, dict[str, Any]]:
    """The command itself."""
    pipe = asyncio.subprocess.PIPE
    process = await _python(settings, "streams", "audit", "verify", "--json", stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode, json.loads(out) if out else {"error": err.decode()}


async def signed(log: KafkaLog, place: Place) -> None:
    """Until the notary has signed for the record there."""
    async with asyncio.timeout(PATIENCE_S):
        async for record in unbroken(log, topics.CHECKPOINTS.name):
            told = json.loads(record.value)
            if (told["topic"], told["partition"]) == (place.topic, place.partition) and told["end"] > place.offset:
                return


async def written(log: KafkaLog, text: str) -> Place:
    records = [Outgoing(topics.RESULTS.name, b"1.2.3", f"{text} {number}".encode(), (("ce_id", b"1"),)) for number in range(10)]
    records += [Outgoing(topics.HL7_RAW.name, b"RIS|%d" % number, b"MSH|") for number in range(8)]
    records += [Outgoing(topics.AUDIT.name, b"looked", b"{}"), Outgoing(topics.RESULTS.name, b"1.2.3", text.encode())]
    return (await log.append(records))[-1]


async def test_it_signs_and_verify_finds_what_was_changed(kafka: LocalServices, tmp_path: Path) -> None:
    audit = AuditSettings(
        key_file=tmp_path / "audit" / "notary.key",
        checkpoint_file=tmp_path / "audit" / "checkpoints.jsonl",
        checkpoint_interval_s=0.2,
    )
    settings = Settings(run_folder=tmp_path / "run", kafka=KafkaSettings(bootstrap=kafka.kafka_bootstrap), audit=audit)
    await asyncio.to_thread(ensure_all_topics, settings)
    async with KafkaLog(kafka.kafka_bootstrap) as log:
        async with Keeping(settings) as keeping:
            await signed(log, await written(log, "first"))
            await keeping.end(signal.SIGKILL)
        async with Keeping(settings):
            place = await written(log, "second")
            await signed(log, place)
        assert not (await verified(settings)).faults
        assert audit.key_file.stat().st_mode & 0o777 == 0o600

        admin = KafkaAdminClient(bootstrap_servers=kafka.kafka_bootstrap)  # what retention does
        await asyncio.to_thread(admin.delete_records, {TopicPartition(place.topic, place.partition): 15})
        admin.close()
        told = await verified(settings)
        assert not told.faults
        (proven,) = [one for one in told.proven if (one.topic, one.partition) == (place.topic, place.partition)]
        assert proven.removed == 15 and proven.end == place.offset + 1
        async with Keeping(settings):
            last = await written(log, "third")
            await signed(log, last)
        code, shown = await radstream_verify(settings)
        assert (code, shown["faults"]) == (0, []), shown

        lines = audit.checkpoint_file.read_bytes().splitlines(keepends=True)
        audit.checkpoint_file.write_bytes(b"".join([lines[0].replace(b'"end":', b'"end":1', 1), *lines[1:]]))
        faults = (await verified(settings)).faults
        assert {fault.place for fault in faults} == {f"{audit.checkpoint_file}:1", str(audit.checkpoint_file)}
        audit.checkpoint_file.write_bytes(b"".join(lines))

    async with away(kafka, "kafka", kill=False):
        forge(kafka.root, last, b"third 3", b"forge 3")
    code, shown = await radstream_verify(settings)
    assert code == 1, shown
    (fault,) = shown["faults"]
    assert (fault["kind"], fault["place"], fault["missing"]) == ("changed", f"{last.topic}/{last.partition}", [])
    assert fault["first"] <= last.offset - 7 < fault["end"]


def forge(root: Path, place: Place, old: bytes, new: bytes) -> None:
    """What somebody can do who may write Kafka's files: a batch with another value, whose checksum fits again (KIP-98)."""
    (file,) = root.rglob(f"{place.topic}-{place.partition}/00000000000000000000.log")
    content, at = bytearray(file.read_bytes()), 0
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at + 8 : at + 12], "big")
        if old in content[at:end]:
            found = content.index(old, at)
            content[found : found + len(old)] = new
            content[at + 17 : at + 21] = crc32c(bytes(content[at + 21 : end])).to_bytes(4, "big")
            file.write_bytes(content)
            return
        at = end
    raise AssertionError(f"{old!r} is not in {file}")
