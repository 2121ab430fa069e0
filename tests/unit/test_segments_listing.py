"""What `radstream topics archived` tells."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connectors.objects import in_folder
from schemas.history import Span
from schemas.ports import Outgoing
from streams.segments.commands import topics_archived
from streams.segments.listing import partitions
from streams.topics import RESULTS
from tests.contract.archived_log import archive
from tests.contract.fake_event_log import FakeEventLog
from tests.contract.fake_history import FakeHistory

TOPIC = RESULTS.name
app = typer.Typer()
app.command()(topics_archived)


async def filled(folder: Path) -> tuple[FakeHistory, list[str]]:
    """Twenty records of which 0 to 5 and 9 to 14 are archived."""
    log = FakeEventLog()
    log.create(TOPIC, 1)
    await log.append([Outgoing(TOPIC, b"k", b"%d" % number) for number in range(20)])
    records, objects = log.records(TOPIC), in_folder(folder, timeout_s=20)
    return FakeHistory(log), [await archive(objects, part) for part in (records[:6], records[9:15])]


async def test_gaps_are_told(tmp_path: Path) -> None:
    live, _ = await filled(tmp_path)
    objects = in_folder(tmp_path, timeout_s=20)
    (found,) = await partitions(objects, live, [TOPIC, "another"])
    assert (found.span, found.live, found.gaps) == (Span(TOPIC, 0, 0, 15), Span(TOPIC, 0, 0, 20), [Span(TOPIC, 0, 6, 9)])
    live.remove_before(TOPIC, 0, 17)
    (found,) = await partitions(objects, live, [TOPIC])
    assert found.gaps == [Span(TOPIC, 0, 6, 9), Span(TOPIC, 0, 15, 17)]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSTREAM_SEGMENTS__URL", str(tmp_path))
    monkeypatch.setenv("RADSTREAM_KAFKA__BOOTSTRAP", "127.0.0.1:9")  # away: then the log is not known
    _, names = asyncio.run(filled(tmp_path))
    told = CliRunner().invoke(app, ["--json", "--check"])
    assert told.exit_code == 0
    (row,) = json.loads(told.stdout)["partitions"]
    assert (row["first"], row["end"], row["segments"], row["gaps"]) == (0, 15, 2, [{"first": 6, "end": 9}])
    assert row["log"] is None
    file = tmp_path / names[1]
    file.write_bytes(file.read_bytes()[:-1])
    assert CliRunner().invoke(app, []).exit_code == 0
    told = CliRunner().invoke(app, ["--check", "--json"])
    assert told.exit_code == 1
    (broken,) = json.loads(told.stdout)["broken"]
    assert names[1] in broken


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "https://somewhere/x", ""])
def test_what_is_no_place_is_refused(url: str) -> None:
    from pydantic import ValidationError

    from streams.segment_settings import SegmentSettings

    with pytest.raises(ValidationError, match="neither a folder nor"):
        SegmentSettings(url=url)
    with pytest.raises(ValidationError, match="no topic that can be archived"):
        SegmentSettings(topics=("radstream.models",))


@pytest.mark.parametrize("strange", [{"age_s": 599}, {"size": 2**20 - 1}, {"size": 128 * 2**20 + 1}])
def test_neither_a_file_of_every_record_nor_one_that_no_memory_holds(strange: dict[str, Any]) -> None:
    from pydantic import ValidationError

    from streams.segment_settings import SegmentSettings

    with pytest.raises(ValidationError, match="than or equal to"):
        SegmentSettings(**strange)
