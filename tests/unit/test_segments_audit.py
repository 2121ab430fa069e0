"""The notary's checkpoints hold for what only the archive has, and whoever changes the archive is found."""

from __future__ import annotations

import asyncio
import io
import random
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console

from connectors.objects import Objects, in_memory
from schemas.history import Span
from streams import topics
from streams.audit import verify_command
from streams.audit.signing import Signer
from streams.audit.verified import Sources, Told, verify
from streams.audit.verifying import Copy
from streams.audit_settings import AuditSettings
from streams.segments.archiving import Archiver
from streams.segments.history import ArchivedHistory
from streams.segments.names import SegmentName, archived
from streams.segments.open_segment import OpenSegment
from streams.segments.segment import Segment
from streams.settings import Settings
from tests.unit.notarised import Notarised, Tampered
from tests.unit.segment_records import backdated

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

    async def verify(self, files: dict[SegmentName, bytes], live: Tampered | None = None) -> Told:
        """`live`: the broker's log, when it still has something, or all."""
        objects: Objects = in_memory()
        for name, file in files.items():
            await objects.put(str(name), file)
        signer: Signer = self.log.signer
        on_broker = live or self.log.history
        history = ArchivedHistory(objects, on_broker, ARCHIVED)
        return await verify(
            on_broker, Sources([self.log.file]), signer.keys, archive=Copy(history, history.holes, ARCHIVED, kept=history.kept)
        )

    def whole(self) -> Tampered:
        """The broker's log before retention."""
        records = {
            (topic, number): list(partition)
            for topic, partitions in self.log.log.topics.items()
            for number, partition in enumerate(partitions)
        }
        return Tampered(records, {of: Span(*of, 0, len(partition)) for of, partition in records.items()})


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


def last_of(kept: Kept) -> tuple[str, int]:
    """A partition that has several segments."""
    name = max(kept.files, key=lambda one: one.first)
    return name.topic, name.partition


async def test_all_of_it_is_proven_from_the_archive(kept: Kept) -> None:
    told = await kept.verify(kept.files)
    assert told.well, told.faults
    assert {(one.topic, one.first) for one in told.proven} >= {(topic, 0) for topic in ARCHIVED}
    assert len(kept.files) > 20


@pytest.mark.parametrize("seed", range(24))
async def test_every_edit_of_the_archive_is_found(kept: Kept, seed: int) -> None:
    chance, files = random.Random(seed), dict(kept.files)
    name = chance.choice(list(files))
    file, kind = files.pop(name), ("a byte", "cut", "taken", "digests", "swapped", "backdated")[seed % 6]
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
    elif kind == "backdated":  # the whole one is left beside it
        other, written = backdated(name, file, name.latest - 366 * 86_400_000)
        files |= {name: file, other: written}
    told = await kept.verify(files)
    assert not told.well, kind
    assert any(name.topic in str(fault.plain()) for fault in told.faults), told.faults


async def test_both_copies_are_verified_and_the_fault_says_which(kept: Kept) -> None:
    assert (await kept.verify(kept.files, kept.whole())).well
    (topic, partition), live = last_of(kept), kept.whole()
    records = live.records_of[topic, partition]
    records[2] = replace(records[2], value=b"made up")
    (fault,) = (await kept.verify(kept.files, live)).faults
    assert (fault.kind, fault.first, fault.copy) == ("changed", 0, "on the broker")
    assert fault.line().startswith(f"{topic}/{partition} on the broker offsets 0-")

    files = dict(kept.files)
    name = min(one for one in files if (one.topic, one.partition) == (topic, partition))
    other, written = again(name, files.pop(name), random.Random(1))
    (fault,) = (await kept.verify(files | {other: written}, kept.whole())).faults
    assert fault.copy == "in the archive"


async def test_what_the_broker_has_of_the_block_that_retention_cut_is_verified_too(kept: Kept) -> None:
    """What it has lost is in the archive."""
    of = last_of(kept)
    for first, edited in ((10, None), *((first, first) for first in range(1, 20))):
        live = kept.whole()
        live.spans_of[of] = Span(*of, first, live.spans_of[of].end)
        if edited is not None:
            live.records_of[of][edited] = replace(live.records_of[of][edited], value=b"made up")
        told = await kept.verify(kept.files, live)
        if edited is None:
            assert told.well
        else:
            (fault,) = told.faults
            assert (fault.place, fault.copy) == ("/".join(map(str, of)), "on the broker")
            assert fault.first is not None and fault.end is not None and fault.first <= edited < fault.end
        archive, broker = [one for one in told.proven if (one.topic, one.partition) == of]
        assert (archive.first, archive.removed, archive.unproven, archive.copy) == (0, 0, 0, "in the archive")
        assert (broker.first, broker.removed, broker.unproven, broker.copy) == (first, first, 0, "on the broker")
        assert archive.end == broker.end

    live = kept.whole()
    live.spans_of[of] = Span(*of, 10, live.spans_of[of].end)
    files = dict(kept.files)
    for name in sorted(one for one in files if (one.topic, one.partition) == of):
        if name.first < 10:
            del files[name]
    told = await kept.verify(files, live)
    assert {one.kind for one in told.faults} == {"gone"}
    broker = [one for one in told.proven if (one.topic, one.partition) == of][-1]
    assert broker.unproven > 0 and broker.first > 10, "nobody has what stood before"


async def test_a_log_that_was_shortened_is_found_where_the_archive_has_it_all(kept: Kept) -> None:
    of, live = last_of(kept), kept.whole()
    end = max(one.end for one in kept.files if (one.topic, one.partition) == of) - 2
    live.spans_of[of] = Span(*of, 0, end)
    of_archive, of_broker = (await kept.verify(kept.files, live)).faults
    assert of_archive.missing[0][0] == end + 2, "what is behind its last segment"
    assert (of_broker.kind, of_broker.copy, of_broker.missing[0][0]) == ("removed", "on the broker", end)


async def test_a_gap_blames_nobody_beside_it_and_hides_nothing_behind_it(kept: Kept) -> None:
    of = last_of(kept)
    names = sorted(one for one in kept.files if (one.topic, one.partition) == of)
    files, taken, last = dict(kept.files), names[len(names) // 2], names[-1]
    del files[taken]
    name, written = again(last, files.pop(last), random.Random(2))
    told = await kept.verify(files | {name: written})
    gone, changed = told.faults
    assert gone.kind == "gone" and gone.missing == ((taken.first, taken.end - 1),)
    assert gone.first is not None and gone.end is not None
    assert taken.first - kept.log.block < gone.first <= taken.first and taken.end <= gone.end < taken.end + kept.log.block
    assert changed.kind == "changed" and changed.end is not None and changed.end > last.first


async def test_a_broken_segment_blames_only_the_blocks_that_it_is_part_of(kept: Kept) -> None:
    for name in sorted(kept.files)[::7]:
        told = await kept.verify(kept.files | {name: b"broken"})
        (fault,) = told.faults
        assert fault.kind == "unreadable" and fault.first is not None and fault.end is not None
        assert name.first - kept.log.block < fault.first <= name.first and name.end <= fault.end < name.end + kept.log.block


async def test_an_archive_that_lost_its_oldest_segments_or_all_of_them(kept: Kept) -> None:
    of = last_of(kept)
    names = sorted(one for one in kept.files if (one.topic, one.partition) == of)
    (fault,) = (await kept.verify({name: file for name, file in kept.files.items() if name != names[0]})).faults
    assert (fault.kind, fault.missing) == ("gone", ((0, names[0].end - 1),))
    told = await kept.verify({})
    assert {fault.place for fault in told.faults} == {f"{one.topic}/{one.partition}" for one in kept.files}
    assert {fault.kind for fault in told.faults} == {"gone"}


async def test_checkpoints_that_only_the_archive_has(tmp_path: Path) -> None:
    """And those of the broker are read there, whatever the archive says."""
    log = Notarised(tmp_path)
    await log.filled(random.Random(9))
    objects, whole, name = in_memory(), await log.tampered(), topics.CHECKPOINTS.name
    archiver = Archiver(objects, log.history, log.clock, [name], size=400, age=timedelta(days=1))
    await archiver.turn(asyncio.Event())
    whole.spans_of[name, 0] = Span(name, 0, 5, whole.spans_of[name, 0].end)
    history = ArchivedHistory(objects, whole, [name])

    async def told() -> Told:
        archive = Copy(history, history.holes, kept=history.kept)
        return await verify(whole, Sources([log.file]), log.signer.keys, archive=archive)

    assert (await told()).well
    records = whole.records_of[name, 0]
    records[7] = replace(records[7], value=b"made up")
    assert [fault.line() for fault in (await told()).faults] == [f"{name}/0/7: is no checkpoint", f"{name}: lacks checkpoints 8"]


async def test_the_command_verifies_both(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, live = last_of(kept), kept.whole()
    live.records_of[of][0] = replace(live.records_of[of][0], key=b"made up")
    objects = in_memory()
    for name, file in kept.files.items():
        await objects.put(str(name), file)
    (key,) = kept.log.signer.keys.values()
    (tmp_path / "notary.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setattr(verify_command, "open_history", lambda _: nullcontext(ArchivedHistory(objects, live, ARCHIVED)))
    monkeypatch.setattr(verify_command, "live_history_for", lambda _: nullcontext(live))
    audit = AuditSettings(key_file=tmp_path / "notary.key", checkpoint_file=kept.log.file)
    console = Console(file=io.StringIO(), width=200)
    assert not await verify_command.run_verify(Settings(audit=audit), [], [], console, as_json=False)
    assert f"{of[0]}/{of[1]} on the broker offsets 0-6" in console.file.getvalue()  # type: ignore[attr-defined]
