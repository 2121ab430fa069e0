"""Every message of the real corpora is read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.ports import Outgoing, Place, Record
from streams.steps.normalise import normalise

SITE = Site(default_assigner="HOSPITAL", default_charset="8859/1")
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


async def _events(file: Path) -> list[Outgoing]:
    return list(await normalise(Record(Place("hl7.v2.raw", 0, 0), None, file.read_bytes(), (), WHEN), site=SITE))


async def test_every_message_of_the_corpora(shared_data: Path) -> None:
    files = sorted((shared_data / "hl7").rglob("*.hl7"))
    counts: Counter[tuple[str, str]] = Counter()
    for file in files:
        data = file.read_bytes()
        message = Message.parse(data, SITE.default_charset)
        assert bytes(message) == data
        assert message.undecodable_at is None, file.name
        assert message.message_control_id, file.name
        events = await _events(file)
        counts[file.parent.name, "files"] += 1
        for event in events:
            counts[file.parent.name, dict(event.headers)["ce_type"].decode().removeprefix("org.radstream.")] += 1
    assert counts == {
        ("dcm4che", "files"): 11,
        ("dcm4che", "order.placed.v1"): 3,
        ("dcm4che", "report.signed.v1"): 3,
        ("dcm4che", "patient.updated.v1"): 2,
        ("dcm4che", "patient.merged.v1"): 2,  # and one SIU that is not used
        ("openmrs-pacs", "files"): 28,  # 14 of them notices of images with an empty ORC, no orders
        ("openmrs-pacs", "report.signed.v1"): 12,
        ("openmrs-pacs", "report.drafted.v1"): 2,
        ("radiology-oru", "files"): 300,
        ("radiology-oru", "report.signed.v1"): 54,
        ("radiology-oru", "report.drafted.v1"): 246,
    }
