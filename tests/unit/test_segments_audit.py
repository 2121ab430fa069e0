"""The notary's checkpoints hold for what only the archive has, and whoever changes the archive is found."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from connectors.objects import Objects, in_memory
from streams import topics
from streams.audit.signing import Signer
from streams.audit.verified import Sources, Told, verify
from streams.segments.archiving import Archiver
from streams.segments.history import ArchivedHistory
from streams.segments.names import SegmentName, archived
from streams.segments.segment import OpenSegment, Segment
from tests.unit.notarised import Notarised

ARCHIVED = (topics.HL7_RAW.name, topics.RESULTS.name, topics.DELIVERIES.name)


class Kept:
    """A log whose archived part is gone from the broker."""

    def __init__(self, notarised: Notarised) -> None:
        self.log = notarised
        self.files: dict[SegmentName, bytes] = {}

    async def archive(self) -> None:
        objects = in_memory()
        archiver = Archiver(objects, self.log.history, self.log.clock, ARCHIVED, size=400, age=timedelta(days=1))
        await archiver.turn(asyncio.Event())
        for topic in ARCHIVED:
            for number, names in (await archived(objects, topic)).items():
                self.log.history.remove_before(topic, number, names[-1].end)
                for name in names:
                    file = await objects.get(str(name))
                    assert file is not None
                    self.files[name] = file

    async def verify(self, files: dict[SegmentName, bytes]) -> Told:
        objects: Objects = in_memory()
        for name, file in files.items():
            await objects.put(str(name), file)
        signer: Signer = self.log.signer
        return await verify(ArchivedHistory(objects, self.log.history), Sources([self.log.file]), signer.keys)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    notarised = Notarised(tmp_path_factory.mktemp("notarised"))
    asyncio.run(notarised.filled(random.Random(8)))
    found = Kept(notarised)
    asyncio.run(found.archive())
    return found


def again(name: SegmentName, file: bytes, chance: random.Random) -> tuple[SegmentName, bytes]:
    """With one record changed or left out, and all digests right."""
    records = list(Segment(name, file).records())
    at = chance.randrange(len(records))
    if chance.random() < 0.5 and len(records) > 1:
        del records[at]
    else:
        records[at] = replace(records[at], value=records[at].value + b"\0")
    growing = OpenSegment(name.topic, name.partition, name.first)
    for record in records:
        growing.add(record)
    growing.cover(name.end)
    return growing.closed()


async def test_all_of_it_is_proven_from_the_archive(kept: Kept) -> None:
    told = await kept.verify(kept.files)
    assert told.well, told.faults
    assert {(one.topic, one.first) for one in told.proven} >= {(topic, 0) for topic in ARCHIVED}
    assert len(kept.files) > 20


@pytest.mark.parametrize("seed", range(20))
async def test_every_edit_of_the_archive_is_found(kept: Kept, seed: int) -> None:
    chance, files = random.Random(seed), dict(kept.files)
    # who takes the first file of a partition does what retention does
    name = chance.choice([one for one in files if one.first > 0])
    file, kind = files.pop(name), ("a byte", "cut", "taken", "digests", "swapped")[seed % 5]
    if kind == "a byte":
        at = chance.randrange(len(file))
        files[name] = file[:at] + bytes([file[at] ^ 1 << chance.randrange(8)]) + file[at + 1 :]
    elif kind == "cut":
        files[name] = file[: chance.randrange(len(file))]
    elif kind == "digests":
        other, written = again(name, file, chance)
        files[other] = written
    elif kind == "swapped":
        other = chance.choice(list(files))
        files[name], files[other] = files[other], file
    told = await kept.verify(files)
    assert not told.well, kind
    assert any(name.topic in str(fault.plain()) for fault in told.faults), told.faults
