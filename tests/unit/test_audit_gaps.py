"""A gap in the archive of an audited topic: what is before and behind it is listed and exported as ever, and the gap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.objects import in_memory
from schemas.history import History, Span
from schemas.ports import Outgoing, Record
from streams import topics
from streams.audit import exporting, listing
from streams.audit.acts import Actor
from streams.audit.exporting import Export
from streams.audit.listing import Wanted, found
from streams.audit.viewing import ENGINE
from streams.existing import Existing
from streams.segments.history import ArchivedHistory
from streams.settings import Settings
from tests.contract.archived_log import archive
from tests.unit.audited_acts import Yesterday

DELIVERIES = topics.DELIVERIES.name


async def gapped() -> tuple[ArchivedHistory, list[Record], Span]:
    """Deliveries 0-4 and 8-11 are archived, 14-19 on the log; and where nobody has them."""
    day, objects = Yesterday(), in_memory()
    records = [await day.put(Outgoing(DELIVERIES, b"fhir|1.2.3", b"%d" % number)) for number in range(20)]
    partition = records[0].place.partition
    await archive(objects, records[:5])
    await archive(objects, records[8:12])
    day.history.remove_before(DELIVERIES, partition, 14)
    return ArchivedHistory(objects, day.history, [DELIVERIES]), records, Span(DELIVERIES, partition, 5, 8)


async def test_what_is_before_and_behind_a_gap_is_listed() -> None:
    history, records, gap = await gapped()
    for wanted, offsets in (
        (Wanted(topics=ENGINE, last=None), [*range(5), *range(8, 12), *range(14, 20)]),
        (Wanted(topics=ENGINE, until=records[3].timestamp), [0, 1, 2]),
        (Wanted(topics=ENGINE, since=records[4].timestamp, until=records[9].timestamp), [4, 8]),
    ):
        told: list[Span] = []
        seen = await found(Existing(history), wanted, told.append)
        assert [one.place for one in seen] == [f"{DELIVERIES}/{gap.partition}/{offset}" for offset in offsets]
        assert told[0] == gap and told[1].first == 12 and len(told) == 2


@pytest.fixture
def archived_day(monkeypatch: pytest.MonkeyPatch) -> None:
    history, _, _ = asyncio.run(gapped())

    @asynccontextmanager
    async def opened(_: Settings) -> AsyncIterator[History]:
        yield history

    @asynccontextmanager
    async def log(_: Settings) -> AsyncIterator[None]:
        yield None

    for module in (listing, exporting):
        monkeypatch.setattr(module, "open_history", opened)
    monkeypatch.setattr(exporting, "log_for", log)


SAID = ("offsets 5-7: neither the log nor the archive has these records", "offsets 12-13: neither the log")


async def test_the_list_tells_the_gaps_beside_it(archived_day: None, capsys: pytest.CaptureFixture[str]) -> None:
    await listing.run_list(Settings(), Wanted(topics=ENGINE, last=None), causes=False, as_json=True)
    said = capsys.readouterr()
    assert said.out.startswith("[") and said.out.count('"place"') == 15
    assert all(one in said.err for one in SAID)


async def test_an_export_tells_the_gaps(archived_day: None, tmp_path: Path) -> None:
    said: list[str] = []
    settings, out = Settings(run_folder=tmp_path / "run"), tmp_path / "out"
    await exporting.run_export(settings, Export("dicom", patients=False), out, Actor("A. Lin", ""), said.append)
    assert len(out.read_bytes().splitlines()) == 15
    assert any(line.startswith("15 written") for line in said)
    assert all(any(one in line for line in said) for one in SAID)
