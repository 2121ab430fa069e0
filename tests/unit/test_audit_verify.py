"""Whoever changes the log, its checkpoints or the file behind the notary's back is found, and where; nobody else is accused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.notarised import CHECKPOINTS, Notarised
from tests.unit.tampered_checkpoints import EDITS, Scene, scene_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Notarised:
    """Never changed: an edit is done to a copy."""
    notarised = Notarised(tmp_path_factory.mktemp("whole"))
    asyncio.run(notarised.filled(random.Random(8)))
    return notarised


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
