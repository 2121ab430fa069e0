"""Every message of the real corpora is read."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import Rejected
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
        ("radiology-oru", "report.signed.v1"): 152,  # 54 say so in OBR-25 ("Final"), 98 in OBX-11 alone
        ("radiology-oru", "report.drafted.v1"): 148,
    }


#: what breaks readers: separators, escapes, framing and line bytes, half characters, empty and huge fields
_POISON = (
    b"|",
    b"^",
    b"~",
    b"\\",
    b"&",
    b"\r",
    b"\n",
    b"\x0b",
    b"\x1c",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\X",
    b"\\X4\\",
    b'""',
    b"x" * 999,
    b"ORC|",
)


async def test_mutated_messages_are_used_or_refused_by_name(shared_data: Path) -> None:
    """Nothing but schemas.errors.Rejected leaves the step, whatever the bytes; and the refusal quotes none of them."""
    random.seed(20261124)
    samples = [file.read_bytes() for file in sorted((shared_data / "hl7").rglob("*.hl7"))]
    used = refused = 0
    for _ in range(2000):
        data = bytearray(random.choice(samples))
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(data))
            match random.randrange(4):
                case 0:
                    data[at : at + random.randint(0, 20)] = random.choice(_POISON)
                case 1:
                    data[at] = random.randrange(256)
                case 2:
                    del data[at : at + random.randint(1, len(data) // 2)]
                case _:
                    data[:at] = data[: at // 2]
            data = data or bytearray(b"MSH")
        record = Record(Place("hl7.v2.raw", 0, 0), None, bytes(data), (), WHEN)
        try:
            await normalise(record, site=SITE)
            used += 1
        except Rejected as error:
            refused += 1
            if len(error.reference) > 20:
                pytest.fail(f"a long reference may quote content: {error.reference}")
    assert used > 200
    assert refused > 200
