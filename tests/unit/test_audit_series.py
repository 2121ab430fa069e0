"""What is kept of checkpoints: of millions, not their text."""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path

import pytest

from schemas.ports import Outgoing
from streams import topics
from streams.audit.series import Checkpoint, Source, joined, read_source
from streams.audit.standing import entries_of
from tests.unit.notarised import CHECKPOINTS, Notarised


@pytest.fixture
async def notarised(tmp_path: Path) -> Notarised:
    found = Notarised(tmp_path)
    await found.filled(random.Random(1), looks=3)
    return found


def read(notarised: Notarised, lines: list[bytes]) -> Source:
    return read_source("file", entries_of("file", lines), notarised.signer.keys)


async def test_only_the_values_of_the_last_look_are_kept(notarised: Notarised) -> None:
    lines = notarised.lines()
    source = read(notarised, lines)
    name = notarised.signer.name
    last = source.of(name)[len(lines)].checkpoint.time
    expected = {number: lines[number - 1] for number, one in source.of(name).items() if one.checkpoint.time == last}
    assert source.values[name] == expected and 0 < len(expected) < len(lines) / 2
    kept = next(iter(source.opened.values()))
    assert sum(len(getattr(kept, one.name)) for one in fields(Checkpoint) if isinstance(getattr(kept, one.name), bytes)) == 3 * 32


@pytest.mark.parametrize("repeated", [0, -1])
async def test_what_is_repeated_behind_them_loses_none_of_these(notarised: Notarised, repeated: int) -> None:
    """Also when somebody does it: the file is completed from the topic all the same."""
    lines = notarised.lines()
    topic = read(notarised, [*lines, lines[repeated]])
    last = topic.of(notarised.signer.name)[len(lines)].checkpoint.time
    short = [line for number, line in enumerate(lines, 1) if topic.of(notarised.signer.name)[number].checkpoint.time != last]
    both = joined(topic, read(notarised, short), notarised.signer.name)
    assert not both.faults and [*short, *both.values] == lines
    assert joined(topic, read(notarised, short[:-1]), notarised.signer.name).faults, "these are of two looks"


async def test_the_file_is_completed_at_a_start_whatever_was_repeated(notarised: Notarised) -> None:
    lines = notarised.lines()
    await notarised.log.append([Outgoing(topics.RESULTS.name, b"1.2.3", b"findings")])
    await notarised.sign()
    await notarised.log.append([Outgoing(CHECKPOINTS, one.key, one.value) for one in notarised.log.records(CHECKPOINTS)[:1]])
    notarised.file.write_bytes(b"".join(line + b"\n" for line in lines))
    notarised.restart()
    await notarised.sign()
    assert len(notarised.lines()) == len(lines) + 1 and (await notarised.verify()).well
