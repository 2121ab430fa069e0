"""Every message of the real corpora is read."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import Rejected
from schemas.hl7v2.message import Message
from schemas.hl7v2.site import Site
from schemas.notices import StudyNoticed
from schemas.ports import Outgoing, Place, Record
from streams.steps.normalise import normalise
from streams.topics import NOTICES

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
        ("dcm4che", "study.noticed.v1"): 3,
        ("dcm4che", "patient.updated.v1"): 2,
        ("dcm4che", "patient.merged.v1"): 2,  # and one SIU that is not used
        ("openmrs-pacs", "files"): 28,  # 14 of them notices of images with an empty ORC, no orders
        ("openmrs-pacs", "report.signed.v1"): 12,
        ("openmrs-pacs", "report.drafted.v1"): 2,
        ("openmrs-pacs", "study.noticed.v1"): 26,
        ("radiology-oru", "files"): 300,
        ("radiology-oru", "report.signed.v1"): 152,  # 54 say so in OBR-25 ("Final"), 98 in OBX-11 alone
        ("radiology-oru", "report.drafted.v1"): 148,
        ("radiology-oru", "study.noticed.v1"): 146,
    }


async def test_which_messages_of_the_corpora_are_a_reason_to_look_for_a_study(shared_data: Path) -> None:
    """Every result with a word in OBR-25, every event of the OpenMRS corpus but the one that ends behind OBR-4; and no order."""
    found: dict[tuple[str, str, bool], set[str]] = defaultdict(set)
    silent: dict[str, set[str]] = defaultdict(set)
    for file in sorted((shared_data / "hl7").rglob("*.hl7")):
        notices = [StudyNoticed.model_validate_json(one.value) for one in await _events(file) if one.topic == NOTICES.name]
        for notice in notices:
            assert notice.hint
            found[file.parent.name, notice.source, notice.study_instance_uid is not None].add(file.name[:4])
        if not notices:
            silent[file.parent.name].add(file.name.partition("-")[0].removesuffix(".hl7"))
    orm = {f"{n:04}" for n in (*range(2, 15), 27)}
    available = {f"{n:04}" for n in (2, 3, 8, 9, 10, 11, 14, 27)}
    silent_oru = silent.pop("radiology-oru")
    assert silent == {
        "dcm4che": {"ADT^A31", "ADT^A40", "ADT^A47", "OMG^O19", "OMI^O23", "ORM^O01", "SIU^S12"},
        "openmrs-pacs": {"0013_ORM_O01", "0025_ORU_R01"},
    }
    assert {key: names for key, names in found.items() if key[0] == "openmrs-pacs"} == {
        ("openmrs-pacs", "hl7:images-available", True): available,
        ("openmrs-pacs", "hl7:obr-25", True): orm - available - {"0013"},
        ("openmrs-pacs", "hl7:obr-25", False): {f"{n:04}" for n in (1, *range(15, 25), 26, 28)},
    }
    assert set(found) - {key for key in found if key[0] == "openmrs-pacs"} == {
        ("dcm4che", "hl7:obr-25", False),
        ("radiology-oru", "hl7:obr-25", True),
        ("radiology-oru", "hl7:obr-25", False),
    }
    for file in (shared_data / "hl7" / "radiology-oru").glob("*.hl7"):
        obr = Message.parse(file.read_bytes(), SITE.default_charset).first("OBR")
        assert obr is not None
        assert (file.stem in silent_oru) == (not obr.value(25))
    assert len(silent_oru) == 154


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
