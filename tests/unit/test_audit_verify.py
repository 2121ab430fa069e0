"""Whoever changes the log, its checkpoints or the file behind the notary's back is found, and where; nobody else is accused."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.checkpoints import CheckpointSigned
from schemas.history import Span
from schemas.ports import Place, Record
from streams.audit.chain import BEGINNING, linked
from streams.audit.faults import Fault
from streams.audit.signing import Signer, value_of
from streams.audit.verified import Told
from tests.unit.notarised import CHECKPOINTS, Notarised, Tampered

OTHER = Signer(Ed25519PrivateKey.from_private_bytes(b"7" * 32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Notarised:
    """Never changed: an edit is done to a copy."""
    notarised = Notarised(tmp_path_factory.mktemp("whole"))
    asyncio.run(notarised.filled(random.Random(8)))
    return notarised


class Scene:
    """A copy of log and file, in the hands of somebody who wants to change it."""

    def __init__(self, of: Notarised, log: Tampered, file: Path, chance: random.Random) -> None:
        self.of, self.log, self.chance = of, log, chance
        self.file = file
        self.lines = of.lines()
        #: what must be among the faults
        self.expected: list[Callable[[Fault], bool]] = []

    # ------------------------------------------------------------------------------------------------------- records

    def partition(self) -> tuple[str, int]:
        return self.chance.choice(
            [one for one in self.log.records_of if one[0] != CHECKPOINTS and len(self.log.records_of[one]) > 5]
        )

    def pick(self) -> tuple[list[Record], int]:
        """A partition's records, and which of them."""
        records = self.log.records_of[self.partition()]
        return records, self.chance.randrange(len(records))

    def expect(self, place: Place, missing: tuple[tuple[int, int], ...] | None = None) -> None:
        def found(fault: Fault) -> bool:
            there = fault.place == f"{place.topic}/{place.partition}" and fault.first is not None and fault.end is not None
            return there and fault.first <= place.offset < fault.end and missing in (None, fault.missing)  # type: ignore[operator]

        self.expected.append(found)

    def change(self, **more: object) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        records[at] = replace(records[at], **more)  # type: ignore[arg-type]

    def edit_value(self) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        value = bytearray(records[at].value)
        value[self.chance.randrange(len(value))] ^= 1 << self.chance.randrange(8)
        records[at] = replace(records[at], value=bytes(value))

    def edit_key(self) -> None:
        self.change(key=b"somebody else")

    def edit_header(self) -> None:
        self.change(headers=(("ce_type", b"forged"),))

    def edit_timestamp(self) -> None:
        records, at = self.pick()
        self.expect(records[at].place)
        records[at] = replace(records[at], timestamp=records[at].timestamp + timedelta(milliseconds=self.chance.choice([-1, 1])))

    def delete(self) -> None:
        """Its offset stays empty."""
        records, at = self.pick()
        place = records.pop(at).place
        self.expect(place, ((place.offset, place.offset),))

    def delete_and_close_up(self) -> None:
        """Those behind it move up by one."""
        records, at = self.pick()
        self.expect(records.pop(at).place)
        self._renumber(records)

    def reorder(self) -> None:
        records, at = self.pick()
        other = self.chance.choice([one for one in range(len(records)) if one != at])
        one, two = records[at], records[other]
        records[at], records[other] = replace(two, place=one.place), replace(one, place=two.place)
        self.expect(one.place)
        self.expect(two.place)

    def truncate(self) -> None:
        records, at = self.pick()
        place, last = records[at].place, records[-1].place
        del records[at:]
        self._end(place, place.offset)
        self.expect(place, ((place.offset, last.offset),))

    def truncate_and_write_on(self) -> None:
        """As long as it was, by other records."""
        records, at = self.pick()
        self.expect(records[at].place)
        records[at:] = [replace(one, value=b"made up") for one in records[at:]]

    def splice(self) -> None:
        """A record of another partition is put in; those behind it move on."""
        records, at = self.pick()
        foreign = self.chance.choice([one for one in self.log.records_of.values() if one and one is not records])[0]
        place = records[at].place
        records.insert(at, replace(foreign, place=place))
        self._renumber(records)
        self.expect(place)

    def replace_by_another(self) -> None:
        records, at = self.pick()
        foreign = self.chance.choice([one for one in self.log.records_of.values() if one and one is not records])[0]
        self.expect(records[at].place)
        records[at] = replace(foreign, place=records[at].place)

    def _renumber(self, records: list[Record]) -> None:
        records[:] = [replace(one, place=replace(one.place, offset=offset)) for offset, one in enumerate(records)]
        self._end(records[0].place, len(records))

    def _end(self, place: Place, end: int) -> None:
        span = self.log.spans_of[place.topic, place.partition]
        self.log.spans_of[place.topic, place.partition] = Span(span.topic, span.partition, span.first, end)

    # --------------------------------------------------------------------------------------------------- checkpoints

    @property
    def checkpoints(self) -> list[Record]:
        return self.log.records_of[CHECKPOINTS, 0]

    def expect_words(self, words: str) -> None:
        self.expected.append(lambda fault: fault.kind == "checkpoint" and words in fault.line())

    def edit_checkpoint(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        value = bytearray(self.checkpoints[at].value)
        value[self.chance.randrange(len(value))] ^= 1
        self.checkpoints[at] = replace(self.checkpoints[at], value=bytes(value))
        self.expect_words(f"{CHECKPOINTS}/0/{at}:")
        self.expect_words(f"lacks checkpoints {at + 1}")

    def delete_checkpoint(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        del self.checkpoints[at]
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def truncate_checkpoints(self) -> None:
        at = self.chance.randrange(1, len(self.checkpoints))
        del self.checkpoints[at:]
        self._end(Place(CHECKPOINTS, 0, at), at)
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def reorder_checkpoints(self) -> None:
        one, two = sorted(self.chance.sample(range(len(self.checkpoints)), 2))
        first, second = self.checkpoints[one], self.checkpoints[two]
        self.checkpoints[one], self.checkpoints[two] = replace(second, place=first.place), replace(first, place=second.place)
        self.expect_words(f"{CHECKPOINTS}/0/{two}: checkpoint {one + 1} stands behind {two + 1}")

    def replace_checkpoint(self) -> None:
        """By an older one."""
        at = self.chance.randrange(1, len(self.checkpoints))
        self.checkpoints[at] = replace(self.checkpoints[at - 1], place=self.checkpoints[at].place)
        self.expect_words(f"{CHECKPOINTS}: lacks checkpoints {at + 1}")

    def sign_with_another_key(self) -> None:
        at = self.chance.randrange(len(self.checkpoints))
        forged = OTHER.signed(CheckpointSigned.model_validate_json(self.checkpoints[at].value))
        self.checkpoints[at] = replace(self.checkpoints[at], value=value_of(forged))
        self.expect_words(f"{CHECKPOINTS}/0/{at}: is signed with another key")

    def sign_all_with_another_key(self) -> None:
        """A record is changed, and everything behind it on topic and file is made to fit."""
        records, at = self.pick()
        place = records[at].place
        records[at] = replace(records[at], value=b"made up")
        head, heads = BEGINNING, {}
        for record in records:
            head = linked(head, record)
            heads[record.place.offset + 1] = head
        previous = CheckpointSigned.model_validate_json(self.checkpoints[0].value).previous
        for number, record in enumerate(self.checkpoints):
            old = CheckpointSigned.model_validate_json(record.value)
            ours = (old.topic, old.partition) == (place.topic, place.partition)
            signed = OTHER.signed(old.model_copy(update={"previous": previous} | ({"chain": heads[old.end].hex()} if ours else {})))
            self.checkpoints[number] = replace(record, value=value_of(signed))
            previous = sha256(value_of(signed)).hexdigest()
        self.lines = [one.value for one in self.checkpoints]
        self.expect_words(f"{CHECKPOINTS}/0/0: is signed with another key")
        self.expect_words(f"{self.file}:1: is signed with another key")

    # ---------------------------------------------------------------------------------------------------------- file

    def line(self) -> int:
        """Not of the last look: of those the notary may not have written any yet."""
        last = json.loads(self.lines[-1])["time"]
        return self.chance.choice([at for at, line in enumerate(self.lines) if json.loads(line)["time"] != last])

    def edit_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        line = bytearray(self.lines[at])
        line[self.chance.randrange(len(line))] ^= 1
        self.lines[at] = bytes(line)
        self.expect_words(f"{self.file}:{at + 1}: ")

    def delete_line(self) -> None:
        at = self.line()
        del self.lines[at]
        self.expect_words(f"{self.file}: lacks checkpoints {at + 1}")

    def truncate_file(self) -> None:
        at = self.line()
        del self.lines[at:]
        self.expect_words(f"{self.file}: lacks checkpoints {at + 1}")

    def reorder_lines(self) -> None:
        one, two = sorted(self.chance.sample(range(len(self.lines)), 2))
        self.lines[one], self.lines[two] = self.lines[two], self.lines[one]
        self.expect_words(f"{self.file}:{two + 1}: checkpoint {one + 1} stands behind {two + 1}")

    def repeat_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines.insert(at, self.lines[at])
        self.expect_words(f"{self.file}:{at + 2}: checkpoint {at + 1} stands there twice")

    def replace_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines[at] = value_of(OTHER.signed(CheckpointSigned.model_validate_json(self.lines[at])))
        self.expect_words(f"{self.file}:{at + 1}: is signed with another key")

    def put_in_a_line(self) -> None:
        at = self.chance.randrange(len(self.lines))
        self.lines.insert(at, b"what is this?")
        self.expect_words(f"{self.file}:{at + 1}: is no checkpoint")

    def empty_file(self) -> None:
        self.lines = []
        self.expect_words(f"{self.file}: lacks checkpoints 1-{len(self.checkpoints)}")

    async def verified(self) -> Told:
        self.file.write_bytes(b"".join(line + b"\n" for line in self.lines))
        scene = Notarised.__new__(Notarised)
        scene.folder, scene.signer = self.file.parent, self.of.signer
        return await scene.verify(self.log)


EDITS: list[Callable[[Scene], None]] = [
    Scene.edit_value,
    Scene.edit_key,
    Scene.edit_header,
    Scene.edit_timestamp,
    Scene.delete,
    Scene.delete_and_close_up,
    Scene.reorder,
    Scene.truncate,
    Scene.truncate_and_write_on,
    Scene.splice,
    Scene.replace_by_another,
    Scene.edit_checkpoint,
    Scene.delete_checkpoint,
    Scene.truncate_checkpoints,
    Scene.reorder_checkpoints,
    Scene.replace_checkpoint,
    Scene.sign_with_another_key,
    Scene.sign_all_with_another_key,
    Scene.edit_line,
    Scene.delete_line,
    Scene.truncate_file,
    Scene.reorder_lines,
    Scene.repeat_line,
    Scene.replace_line,
    Scene.put_in_a_line,
    Scene.empty_file,
]


async def scene_of(whole: Notarised, folder: Path, seed: int) -> Scene:
    file = folder / "checkpoints.jsonl"
    shutil.copy(whole.file, file)
    return Scene(whole, await whole.tampered(), file, random.Random(seed))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
async def test_an_edit_is_found_and_its_place_is_right(
    whole: Notarised, tmp_path: Path, edit: Callable[[Scene], None], seed: int
) -> None:
    scene = await scene_of(whole, tmp_path, seed)
    edit(scene)
    told = await scene.verified()
    assert not told.well
    for expected in scene.expected:
        assert any(expected(fault) for fault in told.faults), [fault.line() for fault in told.faults]


@pytest.mark.parametrize("seed", range(3))
async def test_ten_edits_at_once_hide_none(whole: Notarised, tmp_path: Path, seed: int) -> None:
    """A fault in one block says nothing of those behind it."""
    scene = await scene_of(whole, tmp_path, seed)
    for _ in range(10):
        scene.edit_value()
    told = await scene.verified()
    for expected in scene.expected:
        assert any(expected(fault) for fault in told.faults)
    blocks = sum(one.between[1] - one.between[0] > 0 for one in told.faults if one.between)
    assert blocks <= 10, "nothing else is accused"


async def test_one_edit_is_one_fault_of_one_block(whole: Notarised, tmp_path: Path) -> None:
    for seed in range(8):
        scene = await scene_of(whole, tmp_path, seed)
        scene.edit_value()
        (fault,) = (await scene.verified()).faults
        assert fault.end is not None and fault.first is not None
        assert fault.end - fault.first <= whole.block


async def test_an_untouched_log_gives_none(whole: Notarised) -> None:
    told = await whole.verify()
    assert told.well and not told.notes and not told.later
    assert told.checkpoints == len(whole.lines())
    assert sum(one.end - one.first for one in told.proven) == 360
    assert all((one.removed, one.unproven) == (0, 0) for one in told.proven)


async def test_what_came_after_the_last_checkpoint_is_told_and_not_promised(tmp_path: Path) -> None:
    notarised = Notarised(tmp_path)
    await notarised.filled(random.Random(1), looks=2)
    await notarised.write(random.Random(2), 30)
    told = await notarised.verify()
    assert told.well and sum(told.later.values()) == 30
    log = await notarised.tampered()
    for records in (one for (topic, _), one in log.records_of.items() if topic != CHECKPOINTS):
        if records and records[-1].value.startswith(b"29 "):
            records[-1] = replace(records[-1], value=b"made up")
    assert (await notarised.verify(log)).well


async def test_a_log_that_nobody_signed_is_told(tmp_path: Path) -> None:
    notarised = Notarised(tmp_path)
    await notarised.write(random.Random(1), 5)
    (fault,) = (await notarised.verify()).faults
    assert "there is no checkpoint" in fault.line()


async def test_a_partition_that_is_gone_is_missing(whole: Notarised, tmp_path: Path) -> None:
    scene = await scene_of(whole, tmp_path, 1)
    place = next(one for one in scene.log.spans_of if one[0] == "ai.results")
    end = scene.log.spans_of.pop(place).end
    told = await scene.verified()
    (fault,) = told.faults
    assert fault.missing == ((0, end - 1),)


async def test_missing_offsets_are_named_exactly(whole: Notarised, tmp_path: Path) -> None:
    for seed in range(5):
        scene = await scene_of(whole, tmp_path, seed)
        partition = scene.partition()
        records = scene.log.records_of[partition]
        gone = sorted(scene.chance.sample(range(len(records)), 5))
        for at in reversed(gone):
            del records[at]
        told = await scene.verified()
        named = {offset for fault in told.faults for first, last in fault.missing for offset in range(first, last + 1)}
        assert named == set(gone)
